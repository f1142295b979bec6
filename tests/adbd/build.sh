#!/bin/sh
# Builds the device that tests talk to: Android's own adb daemon (Debian's adbd) in a small chroot with Android's userland
# (mksh as /bin/sh, toybox for everything else). Needs root, mmdebstrap and gcc; downloads about 15 MB of Debian packages.
#
# Usage: build.sh FOLDER [MIRROR]
set -eu
folder="$1"
mirror="${2:-http://deb.debian.org/debian}"
here="$(cd "$(dirname "$0")" && pwd)"
[ -e "$folder/ready" ] && exit 0
[ "$(id -u)" = 0 ] || { echo "build.sh: must run as root" >&2; exit 1; }

rm -rf "$folder"
mkdir -p "$(dirname "$folder")"
mmdebstrap --quiet --variant=extract --include=adbd,mksh,toybox,libstdc++6,libgcc-s1 trixie "$folder" "$mirror"

# Extracted packages run no maintainer scripts, so what those would link is linked here.
for name in bin sbin lib lib64; do ln -sfn "usr/$name" "$folder/$name"; done
ln -sf mksh "$folder/usr/bin/sh"
for name in $(chroot "$folder" /usr/bin/toybox); do
  [ -e "$folder/usr/bin/$name" ] || ln -s toybox "$folder/usr/bin/$name"
done
rm -rf "$folder/usr/share" "$folder/var/cache" "$folder/var/lib/dpkg" "$folder/var/lib/apt"
mkdir -p "$folder/proc" "$folder/sys" "$folder/dev" "$folder/tmp" "$folder/data/local/tmp" "$folder/system/bin"
cc -shared -fPIC -O2 -Wall -Werror -o "$folder/loopback.so" "$here/loopback.c"
touch "$folder/ready"
