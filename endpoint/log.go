package endpoint

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// maxLog is the size at which a log starts anew; the one before is kept beside it.
const maxLog = 8 << 20

// logFile is the console log of a deployment, in a file of its own so that it
// outlives a failed deployment and a restart.
type logFile struct {
	path string
	mu   sync.Mutex
	file *os.File
	size int64
}

// openLog opens the log, beginning a new one if fresh.
func openLog(path string, fresh bool) (*logFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	flags := os.O_CREATE | os.O_APPEND | os.O_WRONLY
	if fresh {
		flags |= os.O_TRUNC
		_ = os.Remove(path + ".1") // of the deployment's former life
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return &logFile{path: path, file: f, size: info.Size()}, nil
}

// Write appends whole lines.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return len(p), nil // a line after the end
	}
	if l.size > maxLog {
		if err := l.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := l.file.Write(p)
	l.size += int64(n)
	return n, err
}

func (l *logFile) rotate() error {
	if err := l.file.Close(); err != nil {
		return err
	}
	if err := os.Rename(l.path, l.path+".1"); err != nil {
		return err
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	l.file, l.size = f, 0
	return err
}

// printf appends a line of the platform's own.
func (l *logFile) printf(now time.Time, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		_, _ = fmt.Fprintf(l, "%s %s\n", now.UTC().Format("2006-01-02 15:04:05,000"), line)
	}
}

// Close ends the log.
func (l *logFile) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
}

// tail reads the last n lines of a log and of the one before it.
func tail(path string, n int) string {
	var lines []string
	for _, name := range []string{path + ".1", path} {
		data, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		scanner := bufio.NewScanner(bytes.NewReader(data))
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			lines = append(lines, scanner.Text())
		}
	}
	if n > 0 && len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
