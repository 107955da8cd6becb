package page

import (
	"bytes"
	"embed"
	"net/http"
	"time"

	"lapis/fault"
)

//go:embed static
var static embed.FS

// guard sets what every answer carries: a browser takes scripts, styles and
// data from this origin only, guesses no types, keeps nothing, and shows the
// page in nobody's frame.
func guard(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// send answers a file of the page.
func send(w http.ResponseWriter, r *http.Request, row row) error {
	data, err := static.ReadFile("static/" + row.file)
	if err != nil {
		return fault.Wrap(err, "reading a file of the page")
	}
	w.Header().Set("Content-Type", row.kind)
	http.ServeContent(w, r, row.file, time.Time{}, bytes.NewReader(data))
	return nil
}
