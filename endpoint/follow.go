package endpoint

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"lapis/fault"
	"lapis/resource"
)

// followWait is how long a question for more of a log may wait for it. A
// client asks again at once.
const followWait = 10 * time.Second

// maxFollow bounds what one answer holds of a log, but for one longer line.
const maxFollow = 1 << 20

// position is a place between two lines of a log. The file's number and its
// first bytes tell the file, also after it was renamed to make room for the next.
type position struct {
	inode  uint64
	sum    uint32 // of the first bytes
	first  int64  // how many of them
	offset int64
}

const positionFormat = "%x.%x.%x.%x"

func (p position) String() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, positionFormat, p.inode, p.sum, p.first, p.offset))
}

// parsePosition reads what String wrote.
func parsePosition(text string) (position, error) {
	var p position
	plain, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		_, err = fmt.Sscanf(string(plain), positionFormat, &p.inode, &p.sum, &p.first, &p.offset)
	}
	if err != nil || p.first < 0 || p.first > fingerprint || p.offset < p.first || p.String() != text {
		return position{}, fault.E(fault.Invalid, "BadArgument", "'%.100s' is no position that an earlier answer gave.", text).At("position")
	}
	return p, nil
}

// fingerprint is how many of a log's first bytes tell it from another.
const fingerprint = 256

// part is an open file of a log.
type part struct {
	*os.File
	inode uint64
	size  int64
}

func openPart(path string) (part, error) {
	f, err := os.Open(path)
	if err != nil {
		return part{}, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return part{}, err
	}
	return part{File: f, size: info.Size(), inode: inodeOf(info)}, nil
}

// at is the position of an offset in the file.
func (p part) at(offset int64) (position, error) {
	first := min(offset, fingerprint)
	sum, err := p.sum(first)
	return position{p.inode, sum, first, offset}, err
}

func (p part) sum(first int64) (uint32, error) {
	h := fnv.New32a()
	_, err := io.Copy(h, io.NewSectionReader(p, 0, first))
	return h.Sum32(), err
}

// holds reports whether a position is one in this file.
func (p part) holds(at position) bool {
	if p.File == nil || p.inode != at.inode || at.offset > p.size {
		return false
	}
	sum, err := p.sum(at.first)
	return err == nil && sum == at.sum
}

// parts opens a log: the file before the present one, if there is one, and the
// present one. A log that starts anew meanwhile is opened again.
func parts(path string) ([]part, error) {
	for {
		now, err := openPart(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		before, err := openPart(path + ".1")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			closeParts([]part{now})
			return nil, err
		}
		found := slices.DeleteFunc([]part{before, now}, func(p part) bool { return p.File == nil })
		info, err := os.Stat(path)
		if now.File == nil || err == nil && inodeOf(info) == now.inode {
			return found, nil
		}
		closeParts(found)
	}
}

func inodeOf(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ino
	}
	return 0
}

func closeParts(list []part) {
	for _, p := range list {
		if p.File != nil {
			_ = p.Close()
		}
	}
}

// lastLines gives the last n lines of a log (all of them if n is 0), each with
// its end, and the position after them.
func lastLines(path string, n int) (string, position, error) {
	found, err := parts(path)
	if err != nil || len(found) == 0 {
		return "", position{}, err
	}
	defer closeParts(found)
	var text []byte
	for _, p := range found {
		data, err := io.ReadAll(io.NewSectionReader(p, 0, p.size))
		if err != nil {
			return "", position{}, err
		}
		text = append(text, data...)
	}
	now := found[len(found)-1]
	whole := bytes.LastIndexByte(text, '\n') + 1 // a line that is being written comes next time
	at, err := now.at(max(now.size-int64(len(text)-whole), 0))
	text = text[:whole]
	if n > 0 {
		from := len(text)
		for ; n > 0 && from > 0; n-- {
			from = bytes.LastIndexByte(text[:from-1], '\n') + 1
		}
		text = text[from:]
	}
	return string(text), at, err
}

// linesAfter gives whole lines after a position, maxFollow bytes or one line,
// and the position after them. A position of a file that is gone, because the
// log has grown too much since or began anew, is taken for the oldest line.
func linesAfter(path string, from position) (string, position, error) {
	found, err := parts(path)
	if err != nil || len(found) == 0 {
		return "", position{}, err
	}
	defer closeParts(found)
	begin := 0
	for i, p := range found {
		if p.holds(from) {
			begin = i
			break
		}
		if i == len(found)-1 {
			from.offset = 0
		}
	}
	for i, p := range found[begin:] {
		offset := from.offset
		if i > 0 {
			offset = 0
		}
		text, err := wholeLines(p, offset)
		if err != nil {
			return "", position{}, err
		}
		if last := begin+i == len(found)-1; text != "" || last {
			at, err := p.at(offset + int64(len(text)))
			return text, at, err
		}
	}
	return "", from, nil
}

// wholeLines reads lines that have an end.
func wholeLines(p part, offset int64) (string, error) {
	for room := int64(maxFollow); ; room *= 2 {
		data, err := io.ReadAll(io.NewSectionReader(p, offset, min(room, p.size-offset)))
		if err != nil {
			return "", err
		}
		if whole := bytes.LastIndexByte(data, '\n') + 1; whole > 0 || int64(len(data)) < room {
			return string(data[:whole]), nil
		}
	}
}

// tail reads the last n lines of a log and of the one before it.
func tail(path string, n int) string {
	text, _, err := lastLines(path, n)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(text, "\n")
}

// followed is the answer of followLogs.
type followed struct {
	Content  string `json:"content"`  // lines, each with its end
	Position string `json:"position"` // after them; give it back to have what follows
	Ended    bool   `json:"ended"`    // nothing follows any more
}

// followLogs gives the lines of a log after a position as soon as there are
// any, or none after a while; without a position, the last ones at once. It is
// ours: Azure's log can only be asked for as a whole, again and again.
func (s *Service) followLogs(ctx context.Context, call resource.Call) (any, error) {
	var asked struct {
		logRequest
		Position string `json:"position"`
	}
	if err := call.DecodeBody(&asked); err != nil {
		return nil, err
	}
	path, err := s.logPath(ctx, call, asked.logRequest)
	if err != nil {
		return nil, err
	}
	if asked.Position == "" {
		text, at, err := lastLines(path, asked.Tail)
		return followed{Content: text, Position: at.String()}, err
	}
	from, err := parsePosition(asked.Position)
	if err != nil {
		return nil, err
	}
	return s.awaitLines(ctx, path, from)
}

func (s *Service) awaitLines(ctx context.Context, path string, from position) (any, error) {
	log := s.logs.take(path)
	defer log.Close()
	patience := time.NewTimer(followWait)
	defer patience.Stop()
	for {
		grown, ended := log.wait()
		text, at, err := linesAfter(path, from)
		if err != nil || text != "" || ended {
			return followed{Content: text, Position: at.String(), Ended: ended && text == ""}, err
		}
		select {
		case <-grown:
			continue
		case <-patience.C:
		case <-s.ctx.Done():
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return followed{Position: at.String()}, nil
	}
}
