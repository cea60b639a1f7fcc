"""What others hold of a contract stays true: each change that would break them is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

from protos import breaking, generate

INCLUDED = Path(protoc.__file__).parent / "_proto"
CONTRACT = """
syntax = "proto3";
package mail;
import "google/api/annotations.proto";

service Post {
  rpc Send(Letter) returns (Receipt) {
    option idempotency_level = IDEMPOTENT;
    option (google.api.http) = { put: "/letters/{id}" body: "*" };
  }
  rpc Read(Letter) returns (Letter) {
    option idempotency_level = NO_SIDE_EFFECTS;
  }
}
service Depot {}
message Letter {
  reserved 8, 20 to 29;
  reserved "wax";
  string id = 1;
  string to = 2;
  optional string note = 3;
  repeated string pages = 4;
  map<string, int64> stamps = 5;
  oneof way { string road = 6; string rail = 7; }
  Kind kind = 9;
  Seal seal = 10;
  message Seal { string motto = 1; }
  enum Size { SMALL = 0; }
}
message Receipt { string number = 1; }
message Lost {}
enum Kind {
  reserved 7;
  LETTER = 0;
  PARCEL = 1;
}
enum Colour { RED = 0; }
"""


def compiled(folder: Path, contract: str) -> FileDescriptorSet:
    (folder / "mail.proto").write_text(contract)
    out = folder / "compiled"
    paths = [folder, Path(generate.sysconfig.get_paths()["purelib"]), INCLUDED]
    options = [f"-I{path}" for path in paths] + [f"--descriptor_set_out={out}"]
    assert protoc.main(["protoc", *options, "mail.proto"]) == 0
    return FileDescriptorSet.FromString(out.read_bytes())


def broken(folder: Path, old: str, new: str) -> list[str]:
    assert CONTRACT.count(old) == 1, old
    changed = compiled(folder, CONTRACT.replace(old, new))
    return list(breaking.breaking(compiled(folder, CONTRACT), changed))


REMOVED = {
    "service": ("service Depot {}", "", ["mail.Depot: removed"]),
    "method": (
        "rpc Read(Letter) returns (Letter) {\n    option idempotency_level = NO_SIDE_EFFECTS;\n  }",
        "",
        ["mail.Post.Read: removed"],
    ),
    "message": ("message Lost {}", "", ["mail.Lost: removed"]),
    "nested message": (
        "Seal seal = 10;\n  message Seal { string motto = 1; }",
        'reserved 10; reserved "seal";',
        ["mail.Letter.Seal: removed"],
    ),
    "enum": ("enum Colour { RED = 0; }", "", ["mail.Colour: removed"]),
    "nested enum": ("enum Size { SMALL = 0; }", "", ["mail.Letter.Size: removed"]),
    "field": (
        "string to = 2;",
        "",
        ["mail.Letter.to (2): removed without reserving its number and its name"],
    ),
    "field, its number reserved": (
        "string to = 2;",
        "reserved 2;",
        ["mail.Letter.to (2): removed without reserving its name"],
    ),
    "field, its name reserved": (
        "string to = 2;",
        'reserved "to";',
        ["mail.Letter.to (2): removed without reserving its number"],
    ),
    "field of a nested message": (
        "string motto = 1;",
        "",
        ["mail.Letter.Seal.motto (1): removed without reserving its number and its name"],
    ),
    "map": (
        "map<string, int64> stamps = 5;",
        "",
        ["mail.Letter.stamps (5): removed without reserving its number and its name"],
    ),
    "enum's value": (
        "PARCEL = 1;",
        "",
        ["mail.Kind.PARCEL (1): removed without reserving its number and its name"],
    ),
    "enum's value, its number reserved": (
        "PARCEL = 1;",
        "reserved 1;",
        ["mail.Kind.PARCEL (1): removed without reserving its name"],
    ),
    "reserved number": (
        "reserved 8, 20 to 29;",
        "reserved 20 to 29;",
        ["mail.Letter: 8 no longer reserved"],
    ),
    "reserved numbers": ("20 to 29", "20 to 28", ["mail.Letter: 20 to 29 no longer reserved"]),
    "reserved name": ('reserved "wax";', "", ['mail.Letter: "wax" no longer reserved']),
    "reserved number of an enum": ("reserved 7;", "", ["mail.Kind: 7 no longer reserved"]),
}

CHANGED = {
    "package": (
        "package mail;",
        "package post;",
        ["mail.proto: package was mail, is post"],
    ),
    "request": (
        "Send(Letter)",
        "Send(Receipt)",
        ["mail.Post.Send: request was mail.Letter, is mail.Receipt"],
    ),
    "response": (
        "returns (Receipt)",
        "returns (Letter)",
        ["mail.Post.Send: response was mail.Receipt, is mail.Letter"],
    ),
    "request streams": (
        "Send(Letter)",
        "Send(stream Letter)",
        ["mail.Post.Send: request was mail.Letter, is stream mail.Letter"],
    ),
    "response streams": (
        "returns (Receipt)",
        "returns (stream Receipt)",
        ["mail.Post.Send: response was mail.Receipt, is stream mail.Receipt"],
    ),
    "idempotency level taken away": (
        "option idempotency_level = IDEMPOTENT;",
        "",
        ["mail.Post.Send: idempotency_level was IDEMPOTENT, is IDEMPOTENCY_UNKNOWN"],
    ),
    "idempotency level weakened": (
        "option idempotency_level = NO_SIDE_EFFECTS;",
        "option idempotency_level = IDEMPOTENT;",
        ["mail.Post.Read: idempotency_level was NO_SIDE_EFFECTS, is IDEMPOTENT"],
    ),
    "place": (
        'put: "/letters/{id}"',
        'put: "/mails/{id}"',
        ['mail.Post.Send: no longer at PUT /letters/{id}, body "*"'],
    ),
    "verb": ("{ put:", "{ post:", ['mail.Post.Send: no longer at PUT /letters/{id}, body "*"']),
    "body": (
        ' body: "*"',
        "",
        ['mail.Post.Send: no longer at PUT /letters/{id}, body "*"'],
    ),
    "number": ("string to = 2;", "string to = 11;", ["mail.Letter.to (2): number was 2, is 11"]),
    "name": (
        "string to = 2;",
        "string whom = 2;",
        [
            "mail.Letter.to (2): name was to, is whom",
            "mail.Letter.to (2): JSON name was to, is whom",
        ],
    ),
    "JSON name": (
        "string to = 2;",
        'string to = 2 [json_name = "whom"];',
        ["mail.Letter.to (2): JSON name was to, is whom"],
    ),
    "type": ("string to = 2;", "bytes to = 2;", ["mail.Letter.to (2): type was string, is bytes"]),
    "type, be it compatible": (
        "map<string, int64>",
        "map<string, uint64>",
        ["mail.Letter.stamps (5): type was map<string, int64>, is map<string, uint64>"],
    ),
    "type, to another message": (
        "Seal seal",
        "Receipt seal",
        ["mail.Letter.seal (10): type was mail.Letter.Seal, is mail.Receipt"],
    ),
    "cardinality": (
        "repeated string pages",
        "string pages",
        ["mail.Letter.pages (4): cardinality was repeated, is single"],
    ),
    "presence lost": (
        "optional string note",
        "string note",
        ["mail.Letter.note (3): cardinality was optional, is single"],
    ),
    "presence gained": (
        "string to = 2;",
        "optional string to = 2;",
        ["mail.Letter.to (2): cardinality was single, is optional"],
    ),
    "into a oneof": (
        "string to = 2;",
        "oneof whom { string to = 2; }",
        ["mail.Letter.to (2): oneof was none, is whom"],
    ),
    "out of a oneof": (
        "string rail = 7; }",
        "} string rail = 7;",
        ["mail.Letter.rail (7): oneof was way, is none"],
    ),
    "name of an enum's value": (
        "PARCEL = 1;",
        "BOX = 1;",
        ["mail.Kind.PARCEL (1): name was PARCEL, is BOX"],
    ),
    "number of an enum's value": (
        "PARCEL = 1;",
        "PARCEL = 2;",
        ["mail.Kind.PARCEL (1): number was 1, is 2"],
    ),
}


BREAKS = REMOVED | CHANGED


@pytest.mark.parametrize(("old", "new", "complaints"), BREAKS.values(), ids=BREAKS)
def test_what_breaks_is_named(tmp_path: Path, old: str, new: str, complaints: list[str]) -> None:
    assert broken(tmp_path, old, new) == complaints


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("service Depot {}", "service Depot {} service Office {}"),
        ("service Depot {}", "service Depot { rpc Find(Letter) returns (Receipt); }"),
        ("message Lost {}", "message Lost { string why = 1; } message Found {}"),
        ("message Lost {}", "message Lost { reserved 1; }"),
        ("string to = 2;", 'reserved 2; reserved "to";'),
        ("PARCEL = 1;", 'reserved 1; reserved "PARCEL";'),
        ("PARCEL = 1;", "PARCEL = 1; CARD = 2;"),
        ("PARCEL = 1;", "option allow_alias = true; PARCEL = 1; BOX = 1;"),
        ("enum Colour { RED = 0; }", "enum Colour { RED = 0; } enum Shape { ROUND = 0; }"),
        ("string rail = 7;", "string rail = 7; string air = 11;"),
        ("Seal seal = 10;", "optional Seal seal = 10;"),
        ("reserved 8, 20 to 29;", "reserved 8, 20 to 30;"),
        ("idempotency_level = IDEMPOTENT;", "idempotency_level = NO_SIDE_EFFECTS;"),
        ('body: "*"', 'body: "*" additional_bindings { post: "/letters" body: "*" }'),
    ],
)
def test_what_is_added_breaks_nobody(tmp_path: Path, old: str, new: str) -> None:
    assert broken(tmp_path, old, new) == []


def test_a_removed_file_is_named(tmp_path: Path) -> None:
    was = compiled(tmp_path, CONTRACT)
    assert list(breaking.breaking(was, FileDescriptorSet())) == ["mail.proto: removed"]


def test_an_annotation_survives_the_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a method could move without anybody's notice."""
    contract = compiled(tmp_path, CONTRACT)
    monkeypatch.setattr(breaking, "RELEASED", tmp_path / "released.json")
    monkeypatch.setattr(breaking, "contracts", lambda: contract)
    monkeypatch.setattr("sys.argv", ["breaking", "--release"])
    breaking.main()
    assert breaking.released() == contract


def test_todays_contracts_break_nothing_that_is_released() -> None:
    assert list(breaking.breaking(breaking.released(), breaking.contracts())) == []


def test_a_break_fails_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    held = breaking.released()
    file = next(file for file in held.file if file.package == "user")
    answer = next(message for message in file.message_type if message.name == "UserResponse")
    answer.field.add(name="phone", number=99, json_name="phone")
    monkeypatch.setattr(breaking, "released", lambda: held)
    monkeypatch.setattr("sys.argv", ["breaking"])
    with pytest.raises(SystemExit) as stopped:
        breaking.main()
    assert str(stopped.value) == (
        "user.UserResponse.phone (99): removed without reserving its number and its name"
    )
