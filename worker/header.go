package worker

import (
	"net/http"
	"slices"
)

// Header is the header of an answer: its fields in their order, with canonical
// names. There are few of them, and most are read once, to be sent: a list is
// made and read in less time than a map.
type Header []Field

// Field is one line of a header.
type Field struct{ Name, Value string }

// Get returns the first value of a name, "" if there is none.
func (h Header) Get(name string) string {
	name = http.CanonicalHeaderKey(name)
	for _, f := range h {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// Has reports whether there is a field of a canonical name.
func (h Header) Has(name string) bool {
	return slices.ContainsFunc(h, func(f Field) bool { return f.Name == name })
}

// Add adds a field, beside those of the same name. The name is canonical.
func (h *Header) Add(name, value string) { *h = append(*h, Field{name, value}) }

// Set puts a field in the place of those of the same name. The name is canonical.
func (h *Header) Set(name, value string) {
	if h.Has(name) {
		h.Del(name)
	}
	h.Add(name, value)
}

// Del removes the fields of canonical names.
func (h *Header) Del(names ...string) {
	*h = slices.DeleteFunc(*h, func(f Field) bool { return slices.Contains(names, f.Name) })
}

// Map returns the header as net/http has it.
func (h Header) Map() http.Header {
	out := make(http.Header, len(h))
	h.Fill(out)
	return out
}

// Fill puts the fields into a header, in place of those of the same names.
func (h Header) Fill(out http.Header) {
	values := make([]string, len(h)) // for all of them
	for n, f := range h {
		if h[:n].Has(f.Name) {
			out[f.Name] = append(out[f.Name], f.Value)
			continue
		}
		values[n] = f.Value
		out[f.Name] = values[n : n+1 : n+1]
	}
}
