package token

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

var errObject = errors.New("not one JSON object with plain and different names, in UTF-8")

// object reads one JSON object and returns its members, which share data's
// memory. A name that comes twice is an error, since readers differ in which
// one they take; so is a name with an escape, which could hide a second one.
//
// encoding/json takes duplicates, and its decoder's tokens cost more than the
// signature check; after json.Valid, finding the members takes only counting.
func object(data []byte) (map[string]json.RawMessage, error) {
	if !utf8.Valid(data) || !json.Valid(data) {
		return nil, errObject
	}
	at := skipSpace(data, 0)
	if data[at] != '{' {
		return nil, errObject
	}
	members := make(map[string]json.RawMessage, 20)
	for at = skipSpace(data, at+1); data[at] != '}'; at = skipSpace(data, at) {
		if data[at] == ',' {
			at = skipSpace(data, at+1)
		}
		end := stringEnd(data, at)
		name := data[at+1 : end-1]
		start := skipSpace(data, skipSpace(data, end)+1) // over the colon
		at = valueEnd(data, start)
		if _, twice := members[string(name)]; twice || bytes.IndexByte(name, '\\') >= 0 {
			return nil, errObject
		}
		members[string(name)] = json.RawMessage(data[start:at])
	}
	return members, nil
}

// The functions below take valid JSON only, and so never run off its end.

func skipSpace(data []byte, at int) int {
	for at < len(data) && (data[at] == ' ' || data[at] == '\t' || data[at] == '\n' || data[at] == '\r') {
		at++
	}
	return at
}

// stringEnd returns the index after the string that begins at at.
func stringEnd(data []byte, at int) int {
	for at++; data[at] != '"'; at++ {
		if data[at] == '\\' {
			at++
		}
	}
	return at + 1
}

// valueEnd returns the index after the value that begins at at.
func valueEnd(data []byte, at int) int {
	depth := 0
	for {
		switch data[at] {
		case '"':
			at = stringEnd(data, at)
		case '{', '[':
			depth++
			at++
		case '}', ']':
			depth--
			at++
		case ',', ':', ' ', '\t', '\n', '\r':
			at++
		default: // a number, true, false or null
			for !bytes.ContainsRune([]byte(",:]} \t\n\r"), rune(data[at])) {
				at++
			}
		}
		if depth == 0 {
			return at
		}
	}
}
