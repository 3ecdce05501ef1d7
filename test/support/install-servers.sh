#!/usr/bin/env bash
# Installs the real peers that the tests talk to, from Debian's packages. Run by .ci/run, or by hand as root; never by
# `npm test` itself.
set -euo pipefail
packages=(
  simplesamlphp php-cli php-xml php-mbstring php-curl php-sqlite3
  python3-pysaml2 xmlsec1
  liblemonldap-ng-portal-perl lemonldap-ng-fastcgi-server liblasso-perl libio-string-perl libxml-simple-perl starman
  chromium
  slapd ldap-utils
  samba samba-ad-dc samba-ad-provision samba-dsdb-modules samba-vfs-modules winbind
  mariadb-server
)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if [ "${#missing[@]}" -eq 0 ]; then
  echo "all peers are installed"
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# The packages want to start services of their own; the tests start theirs, each on a port and in a folder of its own.
# A policy that is there already (Docker's images have one) comes back afterwards.
policy=/usr/sbin/policy-rc.d
[ ! -e "$policy" ] || mv "$policy" "$policy.kept"
trap 'rm -f "$policy"; [ ! -e "$policy.kept" ] || mv "$policy.kept" "$policy"' EXIT
printf '#!/bin/sh\nexit 101\n' > "$policy"
chmod +x "$policy"
apt-get install -y -qq --no-install-recommends "${missing[@]}"
