package endpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// maxLog is the size at which a log starts anew; the one before is kept beside it.
const maxLog = 8 << 20

// logs are the logs that are written or followed now, by path. All who write
// one share it, as the revisions of a deployment do: one file, one size, and
// one place where followers wait.
type logs struct {
	mu   sync.Mutex
	open map[string]*logFile
}

// logFile is the console log of a deployment, in a file of its own so that it
// outlives a failed deployment and a restart.
type logFile struct {
	path  string
	limit int64
	owner *logs
	users int // guarded by owner.mu

	mu    sync.Mutex
	file  *os.File // nil until something is written, and while the log rests
	size  int64
	idle  bool // the file is not held open between lines
	ended bool
	grown chan struct{} // closed at the next line or the end; nil: nobody waits
}

// take gives the log at a path, to be given back by Close.
func (l *logs) take(path string) *logFile {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		l.open = map[string]*logFile{}
	}
	log := l.open[path]
	if log == nil {
		log = &logFile{path: path, limit: maxLog, owner: l}
		l.open[path] = log
	}
	log.users++
	return log
}

// begin takes the log at a path and opens it, beginning a new one if fresh.
func (l *logs) begin(path string, fresh bool) (*logFile, error) {
	log := l.take(path)
	if err := log.start(fresh); err != nil {
		log.Close()
		return nil, err
	}
	return log, nil
}

func (l *logFile) start(fresh bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = false
	if err := os.MkdirAll(filepath.Dir(l.path), 0o700); err != nil {
		return err
	}
	if fresh {
		l.shut()
		_ = os.Remove(l.path + ".1") // of the deployment's former life
		if err := os.WriteFile(l.path, nil, 0o600); err != nil {
			return err
		}
	}
	return l.ready()
}

// over ends the log at a path, whoever uses it: its deployment is gone.
func (l *logs) over(path string) {
	l.mu.Lock()
	log := l.open[path]
	delete(l.open, path)
	l.mu.Unlock()
	if log != nil {
		log.end()
	}
}

// Close gives the log back; the last of its users ends it.
func (l *logFile) Close() {
	l.owner.mu.Lock()
	defer l.owner.mu.Unlock()
	if l.users--; l.users > 0 {
		return
	}
	if l.owner.open[l.path] == l {
		delete(l.owner.open, l.path)
	}
	l.end()
}

// end shuts the log for good, and lets its followers go.
func (l *logFile) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.shut()
	l.tell()
}

// rest holds the file open only while a line is written. begin ends that.
func (l *logFile) rest(idle bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.idle = idle; idle {
		l.shut()
	}
}

// ready opens the file if it is not. The caller holds mu.
func (l *logFile) ready() error {
	if l.file != nil {
		return nil
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return err
	}
	l.file, l.size = f, info.Size()
	return nil
}

// shut closes the file. The caller holds mu.
func (l *logFile) shut() {
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
}

// tell wakes those who wait for a line. The caller holds mu.
func (l *logFile) tell() {
	if l.grown != nil {
		close(l.grown)
		l.grown = nil
	}
}

// wait returns a channel that is closed at the next line or at the end, and
// whether that has come.
func (l *logFile) wait() (grown <-chan struct{}, ended bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.grown == nil && !l.ended {
		l.grown = make(chan struct{})
	}
	return l.grown, l.ended
}

// Write appends whole lines.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return len(p), nil // a line after the end
	}
	if err := l.ready(); err != nil {
		return 0, err
	}
	if l.size > l.limit {
		if err := l.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := l.file.Write(p)
	l.size += int64(n)
	l.tell()
	if l.idle {
		l.shut()
	}
	return n, err
}

func (l *logFile) rotate() error {
	l.shut()
	if err := os.Rename(l.path, l.path+".1"); err != nil {
		return err
	}
	return l.ready()
}

// printf appends a line of the platform's own.
func (l *logFile) printf(now time.Time, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		_, _ = fmt.Fprintf(l, "%s %s\n", now.UTC().Format("2006-01-02 15:04:05,000"), line)
	}
}
