package az

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// progress tells on stderr how a long operation goes on: one line that is
// rewritten where a person watches, else a line for each thing said.
type progress struct {
	app   *App
	title string
	start time.Time
	quiet bool
	stop  chan struct{}
	done  sync.WaitGroup

	mu   sync.Mutex
	text string
	wide int
}

func (a *App) progress(title string) *progress {
	p := &progress{app: a, title: title, start: time.Now(), quiet: a.global("only-show-errors") != "", stop: make(chan struct{})}
	if p.quiet || !a.Terminal.Err {
		return p
	}
	p.done.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-p.stop:
				return
			case <-tick.C:
				p.mu.Lock()
				p.draw()
				p.mu.Unlock()
			}
		}
	})
	return p
}

// say shows what the operation says of itself.
func (p *progress) say(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = strings.ReplaceAll(strings.TrimSpace(text), "\n", " ")
	switch {
	case p.quiet:
	case p.app.Terminal.Err:
		p.draw()
	default:
		fmt.Fprintf(p.app.Stderr, "%s: %s\n", p.title, p.text)
	}
}

// draw rewrites the line; the caller holds the lock.
func (p *progress) draw() {
	line := fmt.Sprintf("%s %.0fs", p.title, time.Since(p.start).Seconds())
	if p.text != "" {
		line += ": " + p.text
	}
	if r := []rune(line); len(r) > 110 {
		line = string(r[:107]) + "..."
	}
	fmt.Fprintf(p.app.Stderr, "\r%-*s", p.wide, line)
	p.wide = len([]rune(line))
}

// end takes the line away.
func (p *progress) end() {
	close(p.stop)
	p.done.Wait()
	if p.wide > 0 {
		fmt.Fprintf(p.app.Stderr, "\r%*s\r", p.wide, "")
	}
}
