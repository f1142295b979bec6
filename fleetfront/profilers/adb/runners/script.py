"""Write the one script that runs on the device for a session, and read the words that it and this machine exchange.

It reads one request a line on its standard input and ends when that ends, so nothing stays behind on a device that was
unplugged; before it ends so, it undoes what ``agent`` changed. While it runs, it holds the device against other
computers, and bounds time and output of the runner. Frequencies and what the kernel counts are read with the shell's
own ``read``.
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
token=$2 limit=$3 lock=$4 me=$5
# One computer, home or container at a time; a lock whose script is gone is taken over.
until mkdir "$lock" 2>/dev/null; do
  pid= owner=
  read -r pid owner 2>/dev/null < "$lock/owner" || { sleep 1; read -r pid owner 2>/dev/null < "$lock/owner"; }
  if [ -n "$pid" ] && grep -q session.sh "/proc/$pid/cmdline" 2>/dev/null; then
    echo "@$token held $pid $owner"
    exit 0
  fi
  mv "$lock" "$lock.$$" 2>/dev/null && rm -rf "$lock.$$"
done
echo "$$ $me" > "$lock/owner"
echo $$ > pid
undo() { [ -e restore.sh ] && sh ./restore.sh </dev/null >/dev/null 2>&1 && rm -f restore.sh; }
let_go() { kill $watcher; rm -f pid; rm -rf "$lock"; }
# Nobody listens any more: what runs is ended, whatever it does, and nothing may end this before it is done.
leave() {
  trap '' HUP TERM PIPE
  exec >/dev/null 2>&1
  # The runner, if there is one.
  kill -9 $!
  undo
  let_go
  exit 1
}
# HUP is what adbd sends when the connection goes away, unless the end of the input or a broken pipe comes first.
trap leave HUP TERM PIPE
cores=
for path in /sys/devices/system/cpu/cpu[0-9]*; do
  [ -r "$path/cpufreq/scaling_cur_freq" ] && cores="$cores ${path##*/cpu}"
done
# All of a visit in one write: every packet of its own can cost a delayed acknowledgement of 40 ms. What mksh
# has, the shell of phones, starts no process.
if [ -n "$KSH_VERSION" ]; then
  say() { print -r -- "$1"; }
  take() { said=$(<said); }
else
  say() { printf '%s\n' "$1"; }
  take() { said=$(cat said); }
fi
# Ends a visit that takes too long, should nobody listen who would: costs a process every so often, not one a visit.
watch() {
  # Not by redirecting the call, for which a shell keeps what was open before: the connection would stay open.
  exec </dev/null >/dev/null 2>&1
  trap 'kill $nap; exit 0' TERM
  pause=$((limit / 4 + 1)) seen= spent=0
  while kill -0 $$; do
    sleep $pause &
    nap=$!
    wait $nap
    number= runner=
    read -r number runner < visiting
    if [ -n "$number" ] && [ "$number" = "$seen" ]; then spent=$((spent + pause)); else spent=0; fi
    seen=$number
    [ $spent -ge $limit ] && kill -9 $runner
  done
}
# What all cores computed, and of that the runners: the shell's own ``times`` of its children.
counts=
{ [ -r /proc/stat ] && read -r counts rest < /proc/stat; } 2>/dev/null
: > visiting
watch &
watcher=$! number=0
clocks() {
  line=
  for core in $cores; do
    now= most_khz=
    read -r now < /sys/devices/system/cpu/cpu$core/cpufreq/scaling_cur_freq
    read -r most_khz < /sys/devices/system/cpu/cpu$core/cpufreq/scaling_max_freq
    line="$line $core:$now:$most_khz"
  done
  [ -n "$counts" ] || return
  read -r name user nice system idle waiting irq softirq rest < /proc/stat
  # Plain ``times`` and ``:`` would end the shell where their file cannot be written, as when the folder is gone.
  command times > spent || return
  { read -r rest; read -r mine rest; } < spent || return
  line="$line load=$((user + nice + system + irq + softirq))/$mine/$rest"
}
visit() {
  export warm="$2" timed="$3" model="$4"
  code= said=
  clocks
  before=$line
  if [ ! -r run.sh ]; then
    code=127
  elif [ -e "$model" ]; then
    . ./run.sh
    # In the background, so that a signal ends the wait: in the foreground it would be put off until the runner ends.
    run </dev/null >said 2>&1 &
    runner=$!
    number=$((number + 1))
    echo $number $runner > visiting
    wait $runner
    code=$?
    command : > visiting
    if [ $code = @TOO_LARGE@ ]; then said=$(head -c @MOST@ said); else take 2>/dev/null; fi
  fi
  [ -e "$model" ] || code=@MISSING@
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
echo "@$token ready $$"
while read -r word id first second third; do
  case $word in
    visit) visit "$id" "$first" "$second" "$third" ;;
    check) check "$id" ;;
    quit) let_go; exit 0 ;;
  esac
done
leave
"""

#: Read before each visit; whoever calls it in a process of its own becomes the runner.
_RUN = """run() {
  ulimit -f @BLOCKS@
  exec @COMMAND@
}
"""

#: What a runner may write into one file, its output among them; more is a runner gone wild. Caches of drivers are less.
MOST_OUTPUT = 16 << 20
#: What is shown of that.
_MOST_SHOWN = 1 << 16
#: How a shell tells that a program was ended for it: SIGXFSZ of Linux on everything but MIPS.
TOO_LARGE = 128 + 25
#: Exit code of a visit whose file is not on the device any more: EX_NOINPUT of sysexits.h.
FILE_MISSING = 66

#: What a check asks a phone. ``deviceidle`` knows the screen at a hundredth of the cost of ``dumpsys power``.
_CHECK = (
    "dumpsys thermalservice 2>/dev/null; dumpsys battery 2>/dev/null; "
    'echo "screen $(dumpsys deviceidle get screen 2>/dev/null)"'
)


_FRAME = (
    r"(?:(?P<word>begin|end|check|checked|ready) (?P<id>\w+)(?: (?P<code>\d{1,3}))?"
    r"(?P<clocks>(?: \d+:\d*:\d*)*(?: load=-?\d+(?:/\d+m[\d.,]+s){2})?)\r?"
    r"|(?P<held>held) (?P<pid>\d{1,9}) (?P<owner>[\w.-]*)\r?)"
)


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of the script's own: ``word`` (ready, begin, end, check, checked), the visit, the exit code, clocks and
    load.

    ``held``: the device is measured by another script, ``id`` is whose and ``code`` its process.
    """

    word: str
    id: str
    code: int
    clocks: str


def session_script(has_thermal: bool) -> str:
    """The script's text. Its arguments: folder, token, seconds a visit may take, the lock's place, who we are."""
    return (
        _SESSION.replace("@CHECK@", _CHECK if has_thermal else ":")
        .replace("@MOST@", str(_MOST_SHOWN))
        .replace("@TOO_LARGE@", str(TOO_LARGE))
        .replace("@MISSING@", str(FILE_MISSING))
    )


def run_script(runner_command: str) -> str:
    """The text of ``run.sh``. ``runner_command`` may use ``$model``, ``$warm`` and ``$timed``."""
    # In blocks of POSIX: https://pubs.opengroup.org/onlinepubs/9699919799/utilities/ulimit.html
    return _RUN.replace("@BLOCKS@", str(MOST_OUTPUT // 512)).replace("@COMMAND@", runner_command)


def parse_frame(line: str, token: str) -> Frame | None:
    """The frame in a line of output; None if the line is a runner's."""
    if not line.startswith("@"):
        return None
    match = re.fullmatch(rf"@{re.escape(token)} {_FRAME}", line)
    if match is None:
        return None
    if match.group("held"):
        return Frame("held", match.group("owner"), int(match.group("pid")), "")
    return Frame(match.group("word"), match.group("id"), int(match.group("code") or 0), match.group("clocks"))
