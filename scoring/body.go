package scoring

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"lapis/fault"
)

// Bounds of requests' bodies.
const (
	// DefaultMaxBody is what an endpoint takes as a request's body, in bytes.
	DefaultMaxBody = 100 << 20
	// DefaultMaxBodies is what the bodies of all requests may take at a time.
	DefaultMaxBodies = 1 << 30

	// A body comes within bodyGrace, and a second more for every bodyRate bytes
	// that have come; so does the client take its answer.
	bodyGrace = 10 * time.Second
	bodyRate  = 64 << 10
	bodyPiece = 64 << 10 // what is made room for before anything of it has come
)

// paceOf is how long a peer may take for so many bytes.
func (f *Front) paceOf(bytes int) time.Duration {
	grace := f.BodyGrace
	setDefault(&grace, bodyGrace)
	return grace + time.Duration(bytes)*time.Second/bodyRate
}

// reserve takes n bytes of what all bodies may take together.
func (f *Front) reserve(n int) bool {
	limit := f.MaxBodies
	setDefault(&limit, DefaultMaxBodies)
	if f.bodies.Add(int64(n)) > limit {
		f.bodies.Add(int64(-n))
		return false
	}
	return true
}

// readBody reads a whole body of at most limit bytes. It makes room as the
// body comes, not on the word of a header, within what all bodies may take
// together; size is what was taken, which the caller gives back to f.bodies
// whether there is an error or not. A body that comes too slowly is given up:
// until it is here, the request holds nothing else.
func (f *Front) readBody(w http.ResponseWriter, r *http.Request, limit int64) (body []byte, size int, err error) {
	known := r.ContentLength
	if known > limit {
		return nil, 0, tooLarge(limit)
	}
	if r.Body == nil || known == 0 {
		return nil, 0, nil
	}
	began, paced := time.Now(), 0
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(began.Add(f.paceOf(0))) // not every ResponseWriter can
	in := r.Body
	if known < 0 { // else there is no more of it
		in = http.MaxBytesReader(w, in, limit)
	}
	for {
		if len(body) == cap(body) {
			next := roomFor(len(body), known, limit)
			if !f.reserve(next - size) {
				return nil, size, tooManyBodies()
			}
			size = next
			body = append(make([]byte, 0, next), body...)
		}
		n, err := in.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if err == io.EOF || int64(len(body)) == known && err == nil {
			_ = control.SetReadDeadline(time.Time{})
			return body, size, nil
		}
		if err != nil {
			return nil, size, f.bodyFault(w, r, err, limit, len(body))
		}
		if len(body)-paced >= bodyPiece {
			paced = len(body)
			_ = control.SetReadDeadline(began.Add(f.paceOf(paced)))
		}
	}
}

// roomFor is how large a buffer is to be that is full with have bytes. known
// is the body's length, if it is 0 or more.
func roomFor(have int, known, limit int64) int {
	next := max(2*int64(have), 4<<10)
	if known >= 0 && have == 0 {
		next = bodyPiece
	}
	if known >= 0 {
		return int(min(next, known))
	}
	return int(min(next, max(limit, int64(have))+1)) // one more, to see the end
}

// bodyFault says why a body could not be read. The connection ends with it.
func (f *Front) bodyFault(w http.ResponseWriter, r *http.Request, err error, limit int64, have int) error {
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return tooLarge(limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fault.E(fault.Timeout, "RequestBodyTimeout",
			"The request body came too slowly: %d bytes in %v. It must begin at once and keep to %d bytes a second.", have, f.paceOf(have).Round(time.Millisecond), bodyRate)
	case r.Context().Err() != nil:
		return r.Context().Err()
	}
	return fault.E(fault.Invalid, "BadRequest", "The request body is broken, or ended early: %w", err)
}

func tooLarge(limit int64) error {
	return fault.E(fault.TooLarge, "RequestEntityTooLarge", "The request body has more than %d bytes, which is what this endpoint takes.", limit)
}

func tooManyBodies() error {
	return fault.E(fault.Unavailable, "ServerBusy", "The requests that are under way have bodies that take all the memory for them. Try again in a second.")
}

// paceAnswer bounds how long a client may take for an answer of so many
// bytes; the result ends that. What fits into the socket's buffers is not
// worth it.
func (f *Front) paceAnswer(w http.ResponseWriter, size int) func() {
	if size < bodyPiece {
		return func() {}
	}
	control := http.NewResponseController(w)
	if control.SetWriteDeadline(time.Now().Add(f.paceOf(size))) != nil {
		return func() {}
	}
	return func() { _ = control.SetWriteDeadline(time.Time{}) }
}
