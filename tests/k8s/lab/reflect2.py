"""Mends the reflect2 that Kubernetes 1.20 brings along: python3 reflect2.py FOLDER.

Since Go 1.18 the runtime fills an iterator over a map that the caller brings; this reflect2 brings none,
and the API server breaks at some map sooner or later. The change is that of modern-go/reflect2 1.0.2.
"""

import sys
from pathlib import Path

ITERATOR = """type hiter struct {
	key, value, t, h, buckets, bptr unsafe.Pointer
	overflow, oldoverflow           *[]unsafe.Pointer
	startBucket                     uintptr
	offset                          uint8
	wrapped                         bool
	B, i                            uint8
	bucket, checkBucket             uintptr
}
"""


def mend(file, pairs):
    text = file.read_text()
    for old, new in pairs:
        assert text.count(old) == 1, f"{file}: {old!r} is not there once"
        text = text.replace(old, new)
    file.write_text(text)


def main():
    folder = Path(sys.argv[1])
    link = folder / "unsafe_link.go"
    text = link.read_text()
    start = text.index("type hiter struct {")
    whole = text[start : text.index("}\n", start) + 2]
    head = "func mapiterinit(rtype unsafe.Pointer, m unsafe.Pointer"
    mend(link, [(whole, ITERATOR), (f"{head}) *hiter", f"{head}, it *hiter)")])
    call = "mapiterinit(type2.rtype, *(*unsafe.Pointer)(obj)"
    old = f"	return &UnsafeMapIterator{{\n		hiter:      {call}),"
    new = f"	it := new(hiter)\n	{call}, it)\n	return &UnsafeMapIterator{{\n		hiter:      it,"
    mend(folder / "unsafe_map.go", [(old, new)])


main()
