"""Read heat, battery, screen and cores from phones' own texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetfront.errors import DeviceError, InputError
from fleetfront.profilers.adb.facts.conditions import Cooling, clock_facts, load_facts, read_state
from fleetfront.profilers.adb.facts.cores import Core, clusters, core_mask, parse_clocks, parse_cores
from fleetfront.profilers.adb.facts.device import parse_facts
from fleetfront.profilers.adb.facts.thermal import parse_battery, parse_screen, parse_thermal, parse_wakefulness
from fleetfront.profilers.adb.heat import HeatWatch

#: Four small cores, three big ones and a prime one, as on a Snapdragon 8.
PHONE = tuple(Core(i, capacity, khz) for i, (capacity, khz) in enumerate(
    [(320, 1_800_000)] * 4 + [(830, 2_500_000)] * 3 + [(1024, 3_000_000)]
))  # fmt: skip

FACTS = """\
uname aarch64 Linux 5.10.101-android12
prop ro.product.manufacturer=Google
prop ro.product.model=Pixel 6
prop ro.soc.manufacturer=Google
prop ro.soc.model=GS101
prop ro.board.platform=gs101
prop ro.hardware=oriole
prop ro.build.version.release=13
prop ro.build.version.sdk=33
prop ro.build.fingerprint=google/oriole/oriole:13/TQ1A/1:user/release-keys
prop ro.product.cpu.abilist=arm64-v8a,armeabi-v7a,armeabi
tool taskset
tool dumpsys
folder /data/local/tmp
cpu0 capacity=160 max=1803000 governor=sched_pixel
cpu4 capacity=498 max=2253000 governor=sched_pixel
cpu10 capacity=1024 max=2802000 governor=sched_pixel
cpu2 capacity= max= governor=
"""


WARM = """\
Thermal Status: 0
Current temperatures from HAL:
\tTemperature{mValue=44.5, mType=3, mName=skin, mStatus=0}
"""

BOARD = """\
uname armv7l Linux 6.1
board Raspberry Pi 3 Model B
folder /tmp
cpu0 capacity= max=1200000 governor=ondemand
"""


def test_only_the_current_temperatures_count(shared_data: Path) -> None:
    text = (shared_data / "benchmark_model" / "thermalservice_real_excerpts.txt").read_text()
    television, pixel = text.split("# SOURCE")[1:3]
    thermal = parse_thermal(television)
    assert [(r.name, r.kind, round(r.celsius)) for r in thermal.readings] == [
        ("CPU0", "cpu", 63),
        ("CPU1", "cpu", 63),
        ("GPU", "gpu", 61),
    ]
    assert not thermal.is_throttled
    thermal = parse_thermal(pixel)
    # 65 degrees stand in the cached block, which is stale.
    assert [reading.name for reading in thermal.readings] == ["VIRTUAL-SKIN", "VIRTUAL-USB-UI"]
    hottest = thermal.hottest()
    assert hottest is not None
    assert (hottest.kind, round(hottest.celsius, 3)) == ("skin", 23.793)


@pytest.mark.parametrize(("status", "is_throttled"), [(0, False), (1, True), (3, True)])
def test_the_thermal_status_tells_throttling(status: int, is_throttled: bool) -> None:
    thermal = parse_thermal(f"IsStatusOverride: false\nThermal Status: {status}\nCached temperatures:\n")
    assert (thermal.status, thermal.is_throttled) == (status, is_throttled)
    assert bool(read_state(f"Thermal Status: {status}", "").reason_to_wait(Cooling())) is is_throttled


def test_one_hot_sensor_is_enough() -> None:
    text = (
        "Thermal Status: 0\nCurrent temperatures from HAL:\n\tTemperature{mValue=44.5, mType=3, mName=a b, mStatus=2}\n"
    )
    assert parse_thermal(text).is_throttled


def test_the_limit_on_temperature_is_the_users() -> None:
    assert read_state(WARM, "").reason_to_wait(Cooling()) is None
    assert read_state(WARM, "").reason_to_wait(Cooling(max_temp_c=45)) is None
    assert read_state(WARM, "").reason_to_wait(Cooling(max_temp_c=44)) == "skin has 44.5 C"


@settings(max_examples=60)
@given(st.text())
def test_other_texts_have_no_readings(text: str) -> None:
    thermal = parse_thermal(text)
    assert thermal.readings == () or "mValue" in text
    assert parse_battery(text).percent is None or "level" in text


def test_battery_and_screen() -> None:
    battery = parse_battery(
        "Current Battery Service state:\n  AC powered: false\n  USB powered: true\n  level: 87\n  temperature: 312\n"
    )
    assert (battery.percent, battery.celsius, battery.is_charging) == (87, 31.2, True)
    assert parse_battery("  USB powered: false\n").is_charging is False
    assert parse_battery("").is_charging is None
    # As AOSP's BatteryService prints them; a gauge that counts nothing says 0.
    counted = parse_battery("  Max charging voltage: 5000000\n  Charge counter: 2345678\n  voltage: 4123\n")
    assert (counted.charge_uah, counted.millivolts) == (2_345_678, 4123)
    absent = parse_battery("  Charge counter: 0\n  voltage: 4\n")
    assert (absent.charge_uah, absent.millivolts) == (None, None)
    assert parse_wakefulness("  mWakefulness=Asleep\n") == "Asleep"
    assert parse_wakefulness("nothing") is None
    assert [parse_screen(f"x\nscreen {word}\n") for word in ("true", "false", "")] == [True, False, None]


def test_a_battery_at_zero_degrees_was_not_measured(shared_data: Path) -> None:
    logs = shared_data / "logs"
    zero = parse_battery((logs / "dumpsys_battery_zero_temperature_appium133.txt").read_text())
    assert (zero.celsius, zero.percent, zero.is_charging) == (None, 89, True)
    assert parse_battery((logs / "dumpsys_battery_pixelc_syzkaller79.txt").read_text()).celsius == 27.5


def test_clusters_come_from_capacity_or_clock() -> None:
    assert clusters(PHONE) == ((0, 1, 2, 3), (4, 5, 6), (7,))
    assert clusters([Core(0, 0, 2_000_000), Core(1, 0, 1_000_000)]) == ((1,), (0,))


@pytest.mark.parametrize(
    ("choice", "threads", "mask"),
    [
        ("big", 1, 0x80),
        ("big", 2, 0xF0),
        ("big", 4, 0xF0),
        ("big", 8, 0xFF),
        ("little", 4, 0x0F),
        ("little", 5, 0x7F),
        ("all", 4, 0),
        ("f0", 4, 0xF0),
        ("0x3", 2, 0x3),
    ],
)
def test_masks(choice: str, threads: int, mask: int) -> None:
    assert core_mask(choice, PHONE, threads) == mask


@pytest.mark.parametrize(
    ("choice", "threads", "reason"),
    [
        ("medium", 1, "not a choice"),
        ("100", 1, "not online"),
        ("0", 1, "names no core"),
        ("Big", 1, "Did you mean 'big'"),
        ("litle", 1, "Did you mean 'little'"),
        ("80", 2, "2 threads were asked for on 1 cores"),
        ("big", 9, "9 threads were asked for on 8 cores"),
    ],
)
def test_masks_that_cannot_be(choice: str, threads: int, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        core_mask(choice, PHONE, threads)
    assert reason in f"{caught.value.message} {caught.value.remedy}"


def test_a_device_that_tells_no_cores_places_by_itself() -> None:
    assert core_mask("all", (), 4) == 0
    with pytest.raises(InputError) as caught:
        core_mask("big", (), 1)
    assert "--cores all" in caught.value.remedy


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 63), st.integers(0, 3)), min_size=1, max_size=12, unique_by=lambda c: c[0]),
    st.sampled_from(["big", "little"]),
    st.data(),
)
def test_a_cluster_mask_has_a_core_for_each_thread(
    described: list[tuple[int, int]], choice: str, data: st.DataObject
) -> None:
    cores = [Core(number, capacity) for number, capacity in sorted(described)]
    threads = data.draw(st.integers(1, len(cores)))
    mask = core_mask(choice, cores, threads)
    online = sum(1 << core.number for core in cores)
    assert mask & ~online == 0
    assert mask.bit_count() >= threads
    inside = [core.capacity for core in cores if mask >> core.number & 1]
    outside = [core.capacity for core in cores if not mask >> core.number & 1]
    assert not outside or (min(inside) > max(outside) if choice == "big" else max(inside) < min(outside))


def test_clocks_and_caps() -> None:
    words = " 0:1800000:1800000 4:600000:2500000 7:2000000:2200000"
    clocks = parse_clocks(words)
    assert clocks.current == {0: 1_800_000, 4: 600_000, 7: 2_000_000}
    assert clocks.is_capped(PHONE, 0x80)
    assert not clocks.is_capped(PHONE, 0x0F)
    assert clock_facts(words, PHONE, 0x90) == {"clocks_khz": [600_000, 2_000_000], "capped_khz": 2_200_000}
    assert clock_facts("", PHONE, 0) == {}


def test_clocks_that_get_capped_while_measuring_are_heat() -> None:
    free, capped = read_state("", " 7:3000000:3000000"), read_state("", " 7:2000000:2200000")
    watch = HeatWatch("adb:x", PHONE, 0x80, Cooling(), is_told=True)
    watch.see(free, 0.0)
    assert watch.reason(free) is None
    assert watch.reason(capped) == "its clocks are capped"
    # Where the first look sees it already, it is how the user runs the phone.
    saver = HeatWatch("adb:x", PHONE, 0x80, Cooling(), is_told=True)
    saver.see(capped, 0.0)
    assert saver.reason(capped) is None
    assert saver.reason(read_state("Thermal Status: 2", "")) is not None


@pytest.mark.parametrize(("powered", "count"), [("true", 0), ("false", 1)])
def test_a_phone_that_may_fall_asleep_is_said_once(powered: str, count: int) -> None:
    watch = HeatWatch("adb:x", PHONE, 0, Cooling(), is_told=True)
    state = read_state(f"  USB powered: {powered}\n  level: 87\n", "")
    said = [note.text for now in range(3) for note in watch.see(state, now)]
    assert len(said) == count
    assert all("is not charging" in note and "plug it in" in note for note in said)


@pytest.mark.parametrize(("text", "count"), [(WARM, 0), ("", 1)])
def test_a_limit_that_cannot_be_kept_is_said_once(text: str, count: int) -> None:
    watch = HeatWatch("adb:x", PHONE, 0, Cooling(max_temp_c=50.0), is_told=True)
    said = [note.text for now in range(3) for note in watch.see(read_state(text, ""), now)]
    assert len(said) == count
    assert all("does not tell its temperature" in note for note in said)


@pytest.mark.parametrize(
    ("more", "is_told", "is_same"),
    [
        ("", False, True),
        ("boot 7f\n", True, False),
        ("prop ro.serialno=A1\n", True, False),
        ("prop ro.serialno=\ninode 9:2\n", False, True),
    ],
)
def test_what_a_device_is_known_by(more: str, is_told: bool, is_same: bool) -> None:
    identity = parse_facts(FACTS + more, "adb:x").identity
    assert bool(identity) is is_told
    assert identity == parse_facts(FACTS + more, "adb:other").identity
    assert (identity == parse_facts(FACTS + more.replace("7f", "80").replace("A1", "B1"), "adb:x").identity) is is_same
    assert "identity" not in parse_facts(FACTS + more, "adb:x").describe()


def test_units_of_one_model_are_told_apart_without_their_serial_numbers() -> None:
    one, other, quiet = (
        parse_facts(FACTS + more, "x") for more in ("prop ro.serialno=A1\n", "prop ro.serialno=B2\n", "")
    )
    assert len({str(device.describe().get("unit")) for device in (one, other, quiet)}) == 3
    assert "A1" not in str(one.describe())
    assert not one.is_same_unit(other)
    assert one.is_same_unit(quiet)
    board = parse_facts(FACTS + "unit 10000000a1b2c3d4\nboot 1\ninode 1:2\n", "x")
    assert board.is_same_unit(parse_facts(FACTS + "unit 10000000a1b2c3d4\nboot 2\ninode 7:2\n", "x"))
    # Containers of one machine.
    assert not board.is_same_unit(parse_facts(FACTS + "unit 10000000a1b2c3d4\nboot 1\ninode 1:3\n", "x"))


def test_the_facts_of_a_phone() -> None:
    device = parse_facts(FACTS, "adb:x")
    assert (device.model, device.soc, device.is_android) == ("Google Pixel 6", "Google GS101", True)
    assert device.system.startswith("Android 13 (google/oriole")
    assert device.abis[:2] == ("arm64-v8a", "armeabi-v7a")
    assert [core.number for core in device.cores] == [0, 2, 4, 10]
    assert device.tools == {"taskset", "dumpsys"}
    assert device.describe()["clusters"] == [[2], [0], [4], [10]]
    assert parse_cores(FACTS.replace("cpu10", "cpu99"))[-1].number == 4


def test_the_facts_of_a_board() -> None:
    device = parse_facts(BOARD, "adb:x")
    assert (device.model, device.is_android, device.abis) == ("Raspberry Pi 3 Model B", False, ("armeabi-v7a",))
    assert device.describe()["governors"] == ["ondemand"]


@pytest.mark.parametrize("text", ["", "sh: not found", "uname aarch64 Linux 5\n"])
def test_a_device_that_does_not_say_what_it_is(text: str) -> None:
    with pytest.raises(DeviceError) as caught:
        parse_facts(text, "adb:x")
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("words", "others_ns"),
    [
        (" 0:1800000:1800000 load=2499495/0m0.280000s/0m0.020000s", 24_994_650_000_000),
        (" load=2499740/1m00.54s/0m00.00s", 24_936_860_000_000),
        (" load=2499740/0m0,500s/0m0,100s", 24_996_800_000_000),
    ],
    ids=["dash", "mksh", "bash with commas"],
)
def test_what_others_computed_is_all_but_what_the_runners_did(words: str, others_ns: int) -> None:
    assert load_facts(words, PHONE) == {"others_ns": others_ns, "online_cores": 8}
    assert parse_clocks(words).current.get(0) == (1_800_000 if "0:18" in words else None)


@pytest.mark.parametrize("words", ["", " 0:1:2", " load=-5/0m1.0s/0m0.0s", " load=5//", " load=9/1m"])
def test_a_load_that_is_not_told_is_not_known(words: str) -> None:
    """Shells of 32 bits count beyond what they can hold."""
    assert load_facts(words, PHONE) == {}
    assert load_facts(" load=2499740/1m00.54s/0m00.00s", ()) == {}


def test_temperatures_end_with_the_current_block() -> None:
    reading = "\tTemperature{mValue=%s, mType=%d, mName=x, mStatus=0}\n"
    text = (
        "Thermal Status: 0\nCurrent temperatures from HAL:\n" + reading % ("41.0", 9) + reading % ("42.0", 10)
        + "Temperature static thresholds from HAL:\n" + reading % ("95.0", 3)
    )  # fmt: skip
    readings = parse_thermal(text).readings
    assert [(reading.kind, reading.celsius) for reading in readings] == [("npu", 41.0), ("tpu", 42.0)]


#: android.hardware.thermal.TemperatureType, by its numbers.
ANDROID_TYPES = (
    *("cpu", "gpu", "battery", "skin", "usb_port", "power_amplifier", "bcl_voltage", "bcl_current"),
    *("bcl_percentage", "npu", "tpu", "display", "modem", "soc", "wifi", "camera", "flashlight", "speaker"),
    *("ambient", "pogo"),
)


def test_sensors_are_called_as_android_numbers_them() -> None:
    lines = [f"\tTemperature{{mValue=40.5, mType={i}, mName=s{i}, mStatus=0}}" for i in range(len(ANDROID_TYPES))]
    found = parse_thermal("\n".join(["Thermal Status: 0", "Current temperatures from HAL:", *lines, ""]))
    assert [reading.kind for reading in found.readings] == list(ANDROID_TYPES)
