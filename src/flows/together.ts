// Waits for several questions to one transaction at once. Even when one fails, the others have ended before it throws:
// none may reach the database after the rollback.

export async function together<const Asked extends readonly Promise<unknown>[]>(
  asked: Asked,
): Promise<{ -readonly [Index in keyof Asked]: Awaited<Asked[Index]> }> {
  const settled = await Promise.allSettled(asked)
  for (const one of settled) if (one.status === 'rejected') throw one.reason
  return settled.map((one) => (one as PromiseFulfilledResult<unknown>).value) as { -readonly [Index in keyof Asked]: Awaited<Asked[Index]> }
}
