"""Configuration: precedence, origins, types, refusals, and secrets that never show."""

from pathlib import Path

import jsonschema
import pytest

from airpocket.config import Config, WorkerSection, known_keys, load
from airpocket.keys import MASK, schema
from airpocket.running import check_venues
from airpocket.worker import WorkerConfig
from engine.errors import BadConfig

CANARY = "canary-5b1d"


def write(folder: Path, text: str) -> str:
    path = folder / "airpocket.toml"
    path.write_text(text)
    return str(path)


def origin(config: Config, name: str) -> tuple[str, str]:
    return next((value, origin) for row, value, origin in config.rows() if row == name)


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = write(tmp_path, "[kafka]\nbootstrap = 'file:1'\nlinger = 7\nclient_id = 'desk'\n")
    environment = {"AIRPOCKET__KAFKA__BOOTSTRAP": "env:2", "AIRPOCKET__KAFKA__LINGER": "8"}
    config = load(file, environment, {"kafka.bootstrap": "flag:3"})
    assert (config.kafka.bootstrap, config.kafka.linger, config.kafka.client_id) == ("flag:3", 8, "desk")
    assert origin(config, "kafka.bootstrap") == ("flag:3", "flag")
    assert origin(config, "kafka.linger") == ("8", "env AIRPOCKET__KAFKA__LINGER")
    assert origin(config, "kafka.client_id") == ("desk", f"file {file}")
    assert origin(config, "kafka.timeout") == ("10.0", "default")


def test_the_file_is_found_by_flag_by_variable_and_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(None, {}).engine.cadence == 100
    write(tmp_path, "[engine]\ncadence = 200\n")
    other = tmp_path / "other.toml"
    other.write_text("[engine]\ncadence = 300\n")
    assert load(None, {}).engine.cadence == 200
    assert load(None, {"AIRPOCKET_CONFIG": str(other)}).engine.cadence == 300
    with pytest.raises(BadConfig, match=r"missing\.toml.* cannot be read"):
        load("missing.toml", {})


def test_feeds_replace_the_venues_of_the_file_and_keep_their_addresses(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "[ingest.venues.binance_usdm]\nsymbols = ['BTCUSDT']\nsocket_url = 'ws://proxy'\n"
        "[ingest.venues.binance_spot]\nsymbols = ['BTCUSDT']\n",
    )
    assert sorted(load(file, {}).ingest.venues) == ["binance_spot", "binance_usdm"]
    venues = load(file, {}, feeds=["binance_usdm:ETHUSDT,SOLUSDT"]).ingest.venues
    assert list(venues) == ["binance_usdm"]
    assert venues["binance_usdm"].symbols == ("ETHUSDT", "SOLUSDT")
    assert venues["binance_usdm"].socket_url == "ws://proxy"
    with pytest.raises(BadConfig, match="feed is 'BTCUSDT', allowed is VENUE:SYMBOL"):
        load(None, {}, feeds=["BTCUSDT"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[engine]\nband = [5]", r"unknown key 'engine.band' .*did you mean engine.bands"),
        ("[kafak]\nbootstrap = 'x:1'", r"unknown key 'kafak.bootstrap' .*did you mean kafka.bootstrap"),
        ("[engine]\ncadence = 'soon'", r"engine.cadence is 'soon' .*allowed are whole numbers"),
        ("[engine]\ncadence = 1.5", r"engine.cadence is 1.5 .*allowed are whole numbers"),
        ("[engine]\ncadence = true", r"engine.cadence is True .*allowed are whole numbers"),
        ("[engine]\nbands = 5", r"engine.bands is 5 .*allowed are a list of whole numbers"),
        ("[engine]\nbands = [10, 5]", r"\[engine\] bands are \(10, 5\)"),
        ("[engine]\nbands = [5, 10]", r"\[engine\] baseline.bands are \(10, 50, 100\), .* the bands \(5, 10\)"),
        ("[engine.baseline]\nsample = 4000", r"\[engine.baseline\] sample is 4000, allowed are milliseconds from 5000"),
        ("[kafka]\ntimeout = nan", r"kafka.timeout is nan .*allowed are numbers"),
        ("[record]\ncompression = 'rar'", r"record.compression is 'rar' .*allowed are gzip, zstd"),
        ("[engine\n", "is not TOML"),
    ],
)
def test_a_wrong_file_is_refused_naming_value_and_allowed(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        load(write(tmp_path, text), {})


def test_an_unknown_variable_is_refused() -> None:
    with pytest.raises(
        BadConfig, match=r"unknown key 'kafka.bootsrap' \(env AIRPOCKET__KAFKA__BOOTSRAP\); did you mean"
    ):
        load(None, {"AIRPOCKET__KAFKA__BOOTSRAP": "x:1"})


SASL = {
    "AIRPOCKET__KAFKA__SECURITY": "SASL_SSL",
    "AIRPOCKET__KAFKA__MECHANISM": "PLAIN",
    "AIRPOCKET__KAFKA__USERNAME": "desk",
}


def test_a_secret_comes_by_environment_or_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{CANARY}\n")
    by_environment = load(None, {**SASL, "AIRPOCKET__KAFKA__PASSWORD": CANARY})
    by_file = load(None, {**SASL, "AIRPOCKET__KAFKA__PASSWORD_FILE": str(tmp_path / "password")})
    for config in (by_environment, by_file):
        assert config.kafka.password == CANARY
        assert CANARY not in repr(config)
        assert CANARY not in repr(config.rows())
        assert origin(config, "kafka.password")[0] == MASK
    with pytest.raises(BadConfig, match=r"kafka.password_file is '.*absent'.* cannot be read: FileNotFoundError"):
        load(None, {**SASL, "AIRPOCKET__KAFKA__PASSWORD_FILE": str(tmp_path / "absent")})


def test_a_secret_in_the_file_or_by_flag_is_refused_and_not_repeated(tmp_path: Path) -> None:
    file = write(tmp_path, f"[kafka]\npassword = '{CANARY}'\n")
    for source, flags in ((file, {}), (None, {"kafka.password": CANARY})):
        with pytest.raises(BadConfig, match="AIRPOCKET__KAFKA__PASSWORD") as refused:
            load(source, {}, flags)
        assert CANARY not in str(refused.value)


def test_a_login_inside_a_proxy_url_is_masked() -> None:
    url = f"http://desk:{CANARY}@proxy:3128"
    config = load(None, {"AIRPOCKET__INGEST__VENUES__BINANCE_USDM__PROXY": url}, feeds=["binance_usdm:BTCUSDT"])
    assert config.ingest.venues["binance_usdm"].proxy == url
    assert origin(config, "ingest.venues.binance_usdm.proxy")[0] == f"http://{MASK}@proxy:3128"


def test_a_venue_must_exist_and_have_symbols() -> None:
    with pytest.raises(BadConfig, match=r"unknown venue 'binance_usdn'.*did you mean binance_usdm"):
        check_venues(load(None, {}, feeds=["binance_usdn:BTCUSDT"]))
    with pytest.raises(BadConfig, match=r"ingest.venues.binance_usdm.symbols is empty"):
        check_venues(load(None, {"AIRPOCKET__INGEST__VENUES__BINANCE_USDM__REST_URL": "http://127.0.0.1"}))
    check_venues(load(None, {}, feeds=["binance_usdm:BTCUSDT"]))


def test_the_schema_takes_what_we_take_and_refuses_what_we_refuse() -> None:
    described = schema(known_keys())
    jsonschema.Draft202012Validator.check_schema(described)
    validator = jsonschema.Draft202012Validator(described)
    assert validator.is_valid({"engine": {"bands": [5, 10, 50, 100]}, "ingest": {"venues": {"x": {"symbols": ["A"]}}}})
    refused: list[dict[str, object]] = [
        {"engine": {"band": [5]}},
        {"engine": {"bands": ["5"]}},
        {"record": {"compression": "rar"}},
        {"ingest": {"venues": {"x": {"symbols": "A"}}}},
        {"kafka": {"password": "x"}},
    ]
    for wrong in refused:
        assert not validator.is_valid(wrong), wrong


def test_the_worker_section_has_the_worker_s_own_defaults() -> None:
    section, settings = WorkerSection(), WorkerConfig()
    assert (section.snapshot_every, section.retention_passed) == (settings.snapshot_every, settings.retention_passed)


def test_the_window_of_a_record_is_milliseconds() -> None:
    assert load(None, {}).ingest.linger == 5.0
    assert load(None, {"AIRPOCKET__INGEST__LINGER": "0.5"}).ingest.linger == 0.5
    with pytest.raises(BadConfig, match=r"\[ingest\] linger is 0.0, allowed are milliseconds from 0.1 to 1000"):
        load(None, {"AIRPOCKET__INGEST__LINGER": "0"})
