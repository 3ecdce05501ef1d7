// The people that the demo identity provider knows.

export interface DemoPerson {
  readonly id: string
  email: string
  givenName: string
  familyName: string
  title: string
  department: string
  groups: string[]
}

export function demoPeople(): DemoPerson[] {
  return [
    person('1001', 'ada', 'Ada', 'Lovelace', 'Head of computing', 'IT', ['staff', 'administrators']),
    person('1002', 'grace', 'Grace', 'Hopper', 'Compiler engineer', 'Engineering', ['staff', 'engineering']),
    person('1003', 'katherine', 'Katherine', 'Johnson', 'Orbit analyst', 'Research', ['staff', 'research']),
    person('1004', 'josé', 'José', 'Núñez', 'Accountant', 'Finance', ['staff', 'finance']),
    person('1005', 'mary', 'Mary', 'Jackson', 'Contractor', 'Engineering', []),
  ]
}

function person(
  id: string,
  mailbox: string,
  givenName: string,
  familyName: string,
  title: string,
  department: string,
  groups: string[],
): DemoPerson {
  const email = `${mailbox.normalize('NFD').replace(/[^a-z]/g, '')}@corp.example`
  return { id: `demo-${id}`, email, givenName, familyName, title, department, groups }
}
