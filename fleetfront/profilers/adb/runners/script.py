"""The one script that runs on the device for a whole session, and the words that it and this machine exchange.

It reads one request a line on its standard input and ends when that ends, so nothing stays behind on a device that was
unplugged; before it ends so, it undoes what ``awake`` changed. Frequencies are read with the shell's own ``read``: no
process is started around a visit but the runner.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Prints what is known of the device, for ``device.parse_facts``. Works in any POSIX shell, with or without Android.
FACTS = r"""
echo "uname $(uname -m) $(uname -s) $(uname -r)"
if command -v getprop >/dev/null 2>&1; then
  for name in ro.product.manufacturer ro.product.model ro.soc.manufacturer ro.soc.model ro.board.platform ro.hardware \
    ro.build.version.release ro.build.version.sdk ro.build.fingerprint ro.product.cpu.abilist ro.serialno; do
    echo "prop $name=$(getprop $name)"
  done
fi
[ -r /proc/device-tree/model ] && echo "board $(tr -d '\000' < /proc/device-tree/model)"
for path in /proc/device-tree/serial-number /etc/machine-id; do
  [ -s $path ] && [ -r $path ] && echo "unit $(tr -d '\000' < $path)" && break
done
[ -r /proc/sys/kernel/random/boot_id ] && echo "boot $(cat /proc/sys/kernel/random/boot_id)"
[ -r /proc/cpuinfo ] && grep -m 1 -E '^(model name|Hardware)' /proc/cpuinfo
for tool in taskset sha256sum dumpsys settings input svc; do
  command -v $tool >/dev/null 2>&1 && echo "tool $tool"
done
for folder in /data/local/tmp /var/tmp /tmp; do
  [ -d $folder ] && [ -w $folder ] || continue
  echo "folder $folder"
  echo "inode $(stat -c %d:%i $folder 2>/dev/null)"
  break
done
for path in /sys/devices/system/cpu/cpu[0-9]*; do
  [ -r "$path/online" ] && [ "$(cat $path/online)" = 0 ] && continue
  capacity= max= governor=
  [ -r "$path/cpu_capacity" ] && read -r capacity < "$path/cpu_capacity"
  [ -r "$path/cpufreq/cpuinfo_max_freq" ] && read -r max < "$path/cpufreq/cpuinfo_max_freq"
  [ -r "$path/cpufreq/scaling_governor" ] && read -r governor < "$path/cpufreq/scaling_governor"
  echo "${path##*/} capacity=$capacity max=$max governor=$governor"
done
true
"""

_SESSION = r"""
exec 2>&1
cd "$1" || exit 1
token=$2
echo $$ > pid
cores=
for path in /sys/devices/system/cpu/cpu[0-9]*; do
  [ -r "$path/cpufreq/scaling_cur_freq" ] && cores="$cores ${path##*/cpu}"
done
# All of a visit in one write: every packet of its own can cost a delayed acknowledgement of 40 ms. ``print`` is mksh's.
if [ -n "$KSH_VERSION" ]; then say() { print -r -- "$1"; }; else say() { printf '%s\n' "$1"; }; fi
clocks() {
  line=
  for core in $cores; do
    now= most=
    read -r now < /sys/devices/system/cpu/cpu$core/cpufreq/scaling_cur_freq
    read -r most < /sys/devices/system/cpu/cpu$core/cpufreq/scaling_max_freq
    line="$line $core:$now:$most"
  done
}
visit() {
  warm=$2 timed=$3 model=$4
  clocks
  before=$line
  said=$(@RUNNER@ </dev/null 2>&1)
  code=$?
  clocks
  say "@$token begin $1$before
$said
@$token end $1 $code$line"
}
check() {
  echo "@$token check $1"
  @CHECK@
  clocks
  echo
  echo "@$token checked $1 0$line"
}
undo() { [ -e restore.sh ] && sh ./restore.sh </dev/null >/dev/null 2>&1 && rm -f restore.sh; }
# What adbd sends when the connection goes away, unless the end of the input comes first.
trap 'undo; rm -f pid; exit 1' HUP TERM
echo "@$token ready $$"
while read -r word id first second third; do
  case $word in
    visit) visit "$id" "$first" "$second" "$third" ;;
    check) check "$id" ;;
    quit) rm -f pid; exit 0 ;;
  esac
done
undo
rm -f pid
"""

#: What a check asks a phone. ``deviceidle`` knows the screen at a hundredth of the cost of ``dumpsys power``.
_CHECK = (
    "dumpsys thermalservice 2>/dev/null; dumpsys battery 2>/dev/null; "
    'echo "screen $(dumpsys deviceidle get screen 2>/dev/null)"'
)


_FRAME = r"(?P<word>begin|end|check|checked|ready) (?P<id>\w+)(?: (?P<code>\d+))?(?P<clocks>(?: \d+:\d*:\d*)*)\r?"


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of the script's own: ``word`` (ready, begin, end, check, checked), the visit, the exit code, clocks."""

    word: str
    id: str
    code: int
    clocks: str


def session_script(runner_command: str, has_thermal: bool) -> str:
    """The script's text. ``runner_command`` may use ``$model``, ``$warm`` and ``$timed``."""
    return _SESSION.replace("@RUNNER@", runner_command).replace("@CHECK@", _CHECK if has_thermal else ":")


def parse_frame(line: str, token: str) -> Frame | None:
    """The frame in a line of output; None if the line is a runner's."""
    if not line.startswith("@"):
        return None
    match = re.fullmatch(rf"@{re.escape(token)} {_FRAME}", line)
    if match is None:
        return None
    return Frame(match.group("word"), match.group("id"), int(match.group("code") or 0), match.group("clocks"))
