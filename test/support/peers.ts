// Which real peers this machine has. A suite that needs one asks here, and is skipped by name where it is missing;
// with CI=true nothing may be missing.

import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

const peers = {
  simplesamlphp: { needs: [onPath('php'), '/usr/share/simplesamlphp/www/index.php'], package: 'simplesamlphp php-cli' },
  pysaml2: { needs: ['/usr/bin/xmlsec1', '/usr/lib/python3/dist-packages/saml2/server.py'], package: 'python3-pysaml2 xmlsec1' },
  lemonldap: {
    needs: [
      onPath('starman'),
      '/usr/share/lemonldap-ng/portal/templates',
      '/usr/share/perl5/IO/String.pm',
      '/usr/share/perl5/XML/Simple.pm',
      // Its module is in a folder that names the machine's architecture.
      '/usr/share/doc/liblasso-perl',
    ],
    package: 'liblemonldap-ng-portal-perl liblasso-perl libio-string-perl libxml-simple-perl starman',
  },
  slapd: { needs: ['/usr/sbin/slapd', '/usr/lib/ldap'], package: 'slapd ldap-utils' },
  samba: { needs: ['/usr/sbin/samba', onPath('samba-tool')], package: 'samba samba-ad-dc samba-ad-provision' },
  mariadb: { needs: ['/usr/sbin/mariadbd', onPath('mariadb-install-db')], package: 'mariadb-server' },
  chromium: { needs: [onPath('chromium')], package: 'chromium' },
} as const satisfies Record<string, { needs: readonly string[]; package: string }>

export type Peer = keyof typeof peers

export const peerNames = Object.keys(peers) as Peer[]

/** For `describe(name, { skip: missing('…') }, …)`: false, or why it is skipped. */
export function missing(peer: Peer): string | false {
  const { needs, package: debian } = peers[peer]
  if (needs.every(exists)) return false
  const why = `${peer} is not installed (Debian: ${debian}; test/support/install-servers.sh installs all)`
  if (process.env.CI === 'true') throw new Error(`with CI=true nothing is skipped, but ${why}`)
  return why
}

/** Where a program is. */
export function pathOf(program: string): string {
  return onPath(program)
}

function onPath(program: string): string {
  return (
    (process.env.PATH ?? '')
      .split(delimiter)
      .map((folder) => join(folder, program))
      .find(exists) ?? program
  )
}

function exists(file: string): boolean {
  try {
    accessSync(file, constants.R_OK)
    return file.includes('/')
  } catch {
    return false
  }
}
