package blob

import (
	"strings"
	"unicode/utf8"

	"lapis/fault"
)

// CheckContainerName applies the naming rules of containers: 3 to 63 of a-z,
// 0-9 and single hyphens, with a letter or digit at both ends; or one of the
// reserved names $root, $web, $logs.
func CheckContainerName(name string) error {
	switch name {
	case "$root", "$web", "$logs":
		return nil
	}
	if len(name) < 3 || len(name) > 63 {
		return badName("container", name, "it must have 3 to 63 characters")
	}
	for i := range len(name) {
		c := name[i]
		if !isLower(c) && !isDigit(c) && c != '-' {
			return badName("container", name, "only a-z, 0-9 and '-' are allowed")
		}
	}
	if name[0] == '-' || name[len(name)-1] == '-' || strings.Contains(name, "--") {
		return badName("container", name, "each '-' must stand between letters or digits")
	}
	return nil
}

// CheckBlobName applies the naming rules of blobs: 1 to 1,024 characters of
// valid UTF-8 with at most 254 path segments. NUL is refused.
func CheckBlobName(name string) error {
	switch {
	case name == "":
		return badName("blob", name, "it is empty")
	case !utf8.ValidString(name):
		return badName("blob", name, "it is not valid UTF-8")
	case utf8.RuneCountInString(name) > 1024:
		return badName("blob", name[:40]+"...", "it has more than 1,024 characters")
	case strings.ContainsAny(name, "\x00\U0010FFFF"):
		return badName("blob", name, "it contains a character that no name may have")
	case strings.Count(name, "/") > 253:
		return badName("blob", name[:40]+"...", "it has more than 254 path segments")
	}
	return nil
}

func badName(what, name, why string) error {
	return fault.E(fault.Invalid, "InvalidResourceName",
		"The specified resource name contains invalid characters. The %s name %q cannot be used: %s.", what, name, why)
}

// Metadata may have this many bytes, names and values together.
const maxMetadata = 8 << 10

// Check applies the rules of metadata: names are identifiers, values are
// printable ASCII, all together at most 8 KiB.
func (m Metadata) Check() error {
	size := 0
	for name, value := range m {
		size += len(name) + len(value)
		if name == "" {
			return fault.E(fault.Invalid, "EmptyMetadataKey", "A metadata header has no name after x-ms-meta-.")
		}
		if !isIdentifier(name) {
			return fault.E(fault.Invalid, "InvalidMetadata",
				"The metadata name %q is not valid: a name begins with a letter or '_' and goes on with letters, digits and '_'.", name)
		}
		if i := strings.IndexFunc(value, unprintable); i >= 0 {
			return fault.E(fault.Invalid, "InvalidMetadata",
				"The value of metadata %q has a character that is not printable ASCII, at position %d. Encode the value, for example with base64.", name, i)
		}
	}
	if size > maxMetadata {
		return fault.E(fault.Invalid, "MetadataTooLarge",
			"The metadata has %d bytes; at most %d are allowed.", size, maxMetadata)
	}
	return nil
}

func isIdentifier(name string) bool {
	for i := range len(name) {
		c := name[i] | 0x20
		letter := isLower(c) || name[i] == '_'
		if !letter && (i == 0 || !isDigit(name[i])) {
			return false
		}
	}
	return true
}

func unprintable(r rune) bool { return r < ' ' || r > '~' }
func isLower(c byte) bool     { return 'a' <= c && c <= 'z' }
func isDigit(c byte) bool     { return '0' <= c && c <= '9' }
