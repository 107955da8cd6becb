package process

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"lapis/worker"
)

// A frame is what goes over the two sockets between lapis and a worker:
//
//	length of the payload (4 bytes) | kind (1) | id (8) | payload
//
// all big-endian; lapis_worker/frames.py has the same layout.
type frame struct {
	kind    byte
	id      uint64
	payload []byte
}

// Kinds on the data socket. Requests have rising ids; each is answered by a
// response of the same id before the next is begun, or returned unrun. After a
// response with flagMore come the other pieces of its body and then an end.
const (
	kindRequest  = 1 // length of meta (4) | meta (JSON, may be empty) | body
	kindResponse = 2 // status (2) | flags (1) | run() in ns (8) | busy in ns (8) | length of headers (4) | headers (JSON) | body
	kindReturned = 3 // empty: the request had been recalled, or its client had gone
	kindPiece    = 4 // of a body
	kindEnd      = 5 // of a body: flags (1) | busy in ns (8)
)

// Kinds on the control socket. Payloads are JSON or empty.
const (
	kindStage  = 16 // to us: {"stage"}
	kindReady  = 17 // to us: {"meta", "raw", "python", "swagger"}
	kindFailed = 18 // to us: {"stage", "code", "type", "message", "traceback"}; the process then ends
	kindPing   = 19 // to the worker
	kindPong   = 20 // to us, with the ping's id
	kindWhere  = 21 // to the worker: log what the main thread is doing
	kindRecall = 22 // to the worker: do not begin what has this id or a smaller one; to us, with the last begun id (8): done
	kindLeave  = 23 // to the worker: the client of the request with this id has gone
	kindBecome = 24 // to a forked worker, before all others: app root, script, environment, with NULs between; to us: heard
)

// The flags of a response.
const (
	flagRan    = 1 // run() returned and its output was sent; the time is valid
	flagFailed = 2 // run() raised, or answered 500 or more, or could not go on with its answer
	flagMore   = 4 // the body is the first piece of several
)

const (
	frameHeader  = 4 + 1 + 8
	answerHeader = 2 + 1 + 8 + 8 + 4
	endSize      = 1 + 8
	maxBody      = 100 << 20
	maxMeta      = 1 << 20
	maxData      = maxBody + maxMeta + 64
	maxControl   = 1 << 20
	readAtOnce   = 4 << 20 // reserve no more than this on the word of a length alone
)

var errFrame = errors.New("malformed frame")

// readFrame reads one frame with a payload of at most limit bytes. It returns
// io.EOF only at the border of a frame.
func readFrame(r io.Reader, limit int) (frame, error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	size := int64(binary.BigEndian.Uint32(head[:4]))
	if size > int64(limit) {
		return frame{}, fmt.Errorf("%w: %d bytes, more than %d", errFrame, size, limit)
	}
	payload, err := readPayload(r, int(size))
	if err != nil {
		return frame{}, err
	}
	return frame{kind: head[4], id: binary.BigEndian.Uint64(head[5:]), payload: payload}, nil
}

func readPayload(r io.Reader, size int) ([]byte, error) {
	payload := make([]byte, min(size, readAtOnce))
	for read := 0; ; {
		n, err := io.ReadFull(r, payload[read:])
		read += n
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if read == size {
			return payload, nil
		}
		grown := make([]byte, size) // whoever has sent that much may be believed
		copy(grown, payload)
		payload = grown
	}
}

// appendHead appends the head of a frame.
func appendHead(b []byte, kind byte, id uint64, size int) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(size))
	b = append(b, kind)
	return binary.BigEndian.AppendUint64(b, id)
}

// appendRequest appends a request frame without its body, which follows it.
func appendRequest(b []byte, id uint64, meta []byte, body int) []byte {
	b = appendHead(b, kindRequest, id, 4+len(meta)+body)
	b = binary.BigEndian.AppendUint32(b, uint32(len(meta)))
	return append(b, meta...)
}

// answer is a response frame, taken apart.
type answer struct {
	status  int
	flags   byte
	runTime time.Duration
	header  worker.Header // nil means application/json and nothing else
	body    []byte
	stream  worker.Stream // what follows the body, or nil
}

// nanoseconds reads a time of 8 bytes, which is never negative.
func nanoseconds(b []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint64(b) & (1<<63 - 1))
}

// parseAnswer takes a response's payload apart. The body is a part of it.
func parseAnswer(payload []byte) (answer, error) {
	if len(payload) < answerHeader {
		return answer{}, fmt.Errorf("%w: a response of %d bytes", errFrame, len(payload))
	}
	a := answer{
		status:  int(binary.BigEndian.Uint16(payload)),
		flags:   payload[2],
		runTime: nanoseconds(payload[3:]),
	}
	size := int64(binary.BigEndian.Uint32(payload[19:]))
	rest := payload[answerHeader:]
	if size > int64(len(rest)) {
		return answer{}, fmt.Errorf("%w: headers end after the payload", errFrame)
	}
	if a.status < 200 || a.status > 599 {
		return answer{}, fmt.Errorf("%w: status %d", errFrame, a.status)
	}
	a.body = rest[size:]
	if size == 0 {
		return a, nil
	}
	var pairs [][2]string
	if err := json.Unmarshal(rest[:size], &pairs); err != nil {
		return answer{}, fmt.Errorf("%w: headers: %w", errFrame, err)
	}
	a.header = make(worker.Header, 0, len(pairs)+ownFields)
	for _, pair := range pairs {
		a.header.Add(http.CanonicalHeaderKey(pair[0]), fromLatin1(pair[1]))
	}
	return a, nil
}

// fromLatin1 gives the bytes that Python's web libraries write as characters
// in a header's value. What are none of those goes as UTF-8.
func fromLatin1(value string) string {
	if !strings.ContainsFunc(value, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return value
	}
	out := make([]byte, 0, len(value))
	for _, r := range value {
		if r > 0xff {
			return value
		}
		out = append(out, byte(r))
	}
	return string(out)
}
