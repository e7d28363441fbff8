"""Documents of which it is known whether they are JSON (RFC 8259), as a standard test suite would hold them."""

from __future__ import annotations

_NUMBERS = [
    "0", "-0", "1", "-1", "12", "1234567890", "12345678901234567890123", "0.0", "-0.0", "0.5", "1.25", "-1.25",
    "123.456789", "0e1", "0E1", "0e+1", "0e-1", "1e1", "1E1", "1e+1", "1e-1", "1.5e3", "1.5E+03", "-1.5e-003",
    "0.0000001", "1e22", "1e-22", "20e1", "123e65", "123e45", "123e-10000000", "0.1e1", "1234.5678e-90",
]  # fmt: skip
_NO_NUMBERS = [
    "01", "-01", "00", "007", "1.", ".5", "-.5", "+1", "-+1", "++1", "--1", "-", "+", ".", "e", "E", "1e", "1E",
    "1e+", "1e-", "1.e1", ".e1", "0.e1", "1.5e", "1.5e+", "1e1.5", "0x1", "0X1F", "0b1", "1_000", "1a", "1e1e1",
    "1..2", "1.2.3", "1.-2", "1ee5", "1e+-5", "NaN", "-NaN", "nan", "Infinity", "-Infinity", "inf", "+Infinity", "1f",
    "1L", "1eE2", "2.e+3", "2.e-3", "9.e+", "1.0e", "0e", "0e+", "0E", "0E+", "0.3e", "0.3e+", "1+2", "-1.0.",
    "0.1.2", "-foo", "-2.", "-1x",
]  # fmt: skip
_TEXTS = [
    "", "a", "abc def", "\\\"", "\\\\", "\\/", "\\b\\f\\n\\r\\t", "/", "\\u0041", "\\u00e9", "\\u20AC", "\\u20ac",
    "\\uD83D\\uDE00", "\\ud83d\\ude00", "\\uDBFF\\uDFFF", "\\uD800\\uDC00", "\\u0000", "\\u0001", "\\u007f",
    "\\u0022", "\\u005C", "\\uFFFF", "\\uFFFE", "\\uFDD0", "\\u2028", "\\\\u0041", "\\\\\\\"", "\\\\\\\\", "a\\\\",
    "\x7f", "é", "€", "😀", "\u2028\u2029", "\ufeff", "\ud7ff", "\ue000", "\U0010ffff", "\u0080", "\u07ff", "\u0800",
    "\uffff", "\U00010000", "{[]}", ":,", "'", "//", "/* */", "\\u0061\\u30af\\u30EA\\u30b9",
]  # fmt: skip
_NO_TEXTS = [
    b"\x00", b"\x01", b"\n", b"\r", b"\t", b"\x1f", b"a\x1fb", b"\\", b"\\a", b"\\x", b"\\x41", b"\\0", b"\\'",
    b"\\ ", b"\\U0041", b"\\v", b"\\e", b"\\\n", b"\\\x00", b"\\\xc3\xa9", b"\\u", b"\\u1", b"\\u12", b"\\u123",
    b"\\u123g", b"\\u 123", b"\\u+123", b"\\u-123", b"\\ug000", b"\\ud800", b"\\udc00", b"\\uD83D", b"\\uDE00\\uD83D",
    b"\\ud83d\\u0041", b"\\ud83dx", b"\\ud83d\\n", b"\\ud83d\\ud83d", b"\\ud83d\\ude0", b"\\ud83d\\", b"\\ud83d\\u",
    b"\\udfff", b"\\uDBFFx", b"\\uD800\\uD800\\n", b"\\u00A", b"\\ud800abc", b"\\ud800\\u", b"\x80", b"\xbf",
    b"\xc0\x80", b"\xc0\xaf", b"\xc1\xbf", b"\xc3", b"\xc3(", b"\xe2", b"\xe2\x82", b"\xe2(\xa1", b"\xe2\x82(",
    b"\xe0\x80\xaf", b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xae\x80", b"\xed\xbf\xbf",
    b"\xed\xa0\xbd\xed\xb8\x80", b"\xf0\x80\x80\xaf", b"\xf0\x8f\xbf\xbf", b"\xf0\x9f\x98", b"\xf0\x9f", b"\xf0",
    b"\xf0(\x8c\xbc", b"\xf0\x90(\xbc", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80", b"\xfe", b"\xff", b"\xe9", b"\xfe\xff", b"\xff\xfe", b"a\x80", b"\xe2\x82\xac\x80",
]  # fmt: skip
_SHAPES = [
    "[]", "[ ]", "[\n]", "{}", "{ }", "[1]", "[1,2]", "[ 1 , 2 ]", "[[]]", "[[],[]]", "[{}]", "[null]",
    "[true,false,null]", '["a"]', '[1,"a",{}]', '{"a":1}', '{"a":1,"b":2}', ' {"a" : 1 , "b" : [ ] } ', '{"":0}',
    '{"a":{}}', '{"a":[]}', '{"a":{"b":{"c":[{}]}}}', '{"a":1,"a":2}', '{"a":1,"\\u0061":2}', '{"\\n":1}',
    '{"a\\"b":1}', '{"a":null}', '{"a":"b"}\n', '\t\r\n {"a":true}\t', "true", "false", "null", " 1 ", '"x"',
    '{"a":-1}', '{"x":[{"id":"' + "x" * 80 + '"}],"id":"y"}', "[" * 100 + "]" * 100, '{"a":' * 100 + "1" + "}" * 100,
    '{"\U0001f600":1}', "[" + " " * 200 + "]", '{"a"' + " " * 100 + ":" + "\n" * 100 + "1" + "\t" * 100 + "}",
    "[" + ",".join("1" * 300) + "]", '["' + "\\\\" * 100 + '"]', '["' + "\\\"" * 100 + '"]', '["' + "é" * 100 + '"]',
    "[0.1,-0,1e5]", '{"a":"' + "\\n" * 65 + '"}',
]  # fmt: skip
_NO_SHAPES = [
    "", " ", "\n", "[", "]", "{", "}", "[1", "[1,", "[1,]", "[,1]", "[,]", "[1,,2]", "[1 2]", "[1]]", "[[1]", "[1}",
    "[}", "{]", '{"a":1]', '["a":1]', "[1:2]", '{"a"}', '{"a":}', '{"a":1', '{"a":1,', '{"a":1,}', '{,"a":1}',
    '{"a":1,,"b":2}', '{"a" 1}', '{"a"::1}', '{"a":1 "b":2}', "{a:1}", "{'a':1}", '{"a":\'b\'}', "{1:1}", '{null:1}',
    '{"a":a}', "{[]:1}", '{"a":1}}', '{"a":1}{}', '{"a":1} 2', '{"a":1} x', "[] []", "1 2", "[1]x", "nul", "nulll",
    "tru", "truee", "fals", "falsee", "True", "NULL", "nUll", "t", "f", "n", "undefined", "'a'", '"', '"a', '"a\\',
    '"a\\"', 'a"', '["a', '["a]', '["a"', '{"a', '{"a"', '{"a":', '{"a":"', '{"a":"b', '{"a":"b"', "// c\n1",
    "1 // c", "/**/1", "1/**/", "# c\n1", "[1;2]", "(1)", "<1>", "`a`", "[1,\x0b2]", "[\x0c]", "\x00", "[1\x00]",
    "[\u00a0]", "[\u2028]", "\ufeff[]", "\ufeff{}", "[\u200b1]", "[*]", "[a]", "[\"a\",\n4\n,1,", "[-]", "[--1]",
    "{\"a\":01}", '{"a":1.}', '{"a":+1}', '{"a":NaN}', '{"a":tru}', '{"a":"\\x"}', "\\", "[\\n]", '\\u0022a"', "{}}",
    "{{}}", '{"a":{}', '{"a":[}', '{"a":[1}', '[{"a":1}', '[{"a":1]', '{"a":[{"b":1]}', "[" * 100,
    "[" * 100 + "]" * 99, '{"a":' * 50, "[[[[[[1]]]]]", "é", "{é:1}", '"a"b', '{"a":1;"b":2}', '{"a":"b"c}',
    '{"a":1,1}', '{"a":1,"b"}', '{"a":1,b}', '{"a":1,{}}', "{\"a\",\"b\"}", "[\"a\",]", "[1,\n", "[tru]", "[nul,1]",
    '{"a":truefalse}', '[""a]', '{"":}', "{:1}",
]  # fmt: skip


def _both(numbers: list[str], texts: list[bytes]) -> list[bytes]:
    """Numbers and texts alone, in lists and in objects; texts also as keys and at every place of a block."""
    found = []
    for number in numbers:
        found += [form % number.encode() for form in (b"%s", b"[%s]", b'{"a":%s}', b"[1,%s,2]", b'{"a":%s,"b":1}')]
    for number, text in enumerate(texts):
        found += [form % text for form in (b'"%s"', b'["%s"]', b'{"a":"%s"}', b'{"%s":1}', b'{"a":"%s","b":2}')]
        for before in (1 + number % 7, 61, 62, 63, 64, 65, 126):
            found.append(b'{"a":"%s%s","b":"c"}' % (b"x" * before, text))
    return found


SOUND: list[bytes] = [shape.encode() for shape in _SHAPES] + _both(_NUMBERS, [text.encode() for text in _TEXTS])
BROKEN: list[bytes] = [shape.encode() for shape in _NO_SHAPES] + _both(_NO_NUMBERS, _NO_TEXTS)
