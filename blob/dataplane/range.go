package dataplane

import (
	"strconv"
	"strings"

	"lapis/fault"
)

// byteRange is a range as it was asked for; last is -1 for "to the end".
type byteRange struct{ first, last int64 }

// readRange reads x-ms-range, or else Range. A Range header that we cannot
// read, or of several ranges, is ignored, as HTTP allows (RFC 9110, 14.2);
// x-ms-range must be right.
func readRange(msRange, stdRange string) (r byteRange, given bool, err error) {
	if msRange != "" {
		r, ok := parseRange(msRange)
		if !ok {
			return r, false, invalidHeader("x-ms-range", "a range has the form bytes=0-1023 or bytes=1024-")
		}
		return r, true, nil
	}
	r, given = parseRange(stdRange)
	return r, given, nil
}

// parseRange takes "bytes=first-" and "bytes=first-last".
func parseRange(text string) (byteRange, bool) {
	spec, ok := strings.CutPrefix(strings.TrimSpace(text), "bytes=")
	if !ok {
		return byteRange{}, false
	}
	from, to, ok := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok {
		return byteRange{}, false
	}
	first, ok := parseOffset(from)
	if !ok {
		return byteRange{}, false
	}
	if to == "" {
		return byteRange{first, -1}, true
	}
	last, ok := parseOffset(to)
	return byteRange{first, last}, ok && last >= first
}

// parseOffset takes digits only: no sign, no space.
func parseOffset(text string) (int64, bool) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// within cuts the range to a blob's size.
func (r byteRange) within(size int64) (offset, length int64, err error) {
	if r.first >= size {
		return 0, 0, fault.E(fault.BadRange, "InvalidRange",
			"The range specified is invalid for the current size of the resource.")
	}
	last := r.last
	if last < 0 || last >= size {
		last = size - 1
	}
	return r.first, last - r.first + 1, nil
}

// header is the Content-Range of a part of a blob.
func contentRange(offset, length, size int64) string {
	return "bytes " + strconv.FormatInt(offset, 10) + "-" + strconv.FormatInt(offset+length-1, 10) + "/" + strconv.FormatInt(size, 10)
}
