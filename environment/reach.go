package environment

import (
	"context"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Unreachable is the error of a build that found no package index to ask. It
// says nothing about the packages. Mode host needs no index.
type Unreachable struct {
	Indexes []string // without credentials
	Lines   []string // what the tool said, empty when none was started
}

// Error names the indexes.
func (u *Unreachable) Error() string {
	return "no package index can be reached (" + strings.Join(u.Indexes, ", ") + ")"
}

// dialTime bounds the question whether an index is there at all.
const dialTime = 6 * time.Second

// anyReachable reports whether at least one index, or a proxy that may lead to
// one, accepts a connection. It is a cheap question asked before the tools with
// their long retries; a yes promises nothing.
func anyReachable(ctx context.Context, indexes []string, environ []string, proxy string) bool {
	targets := map[string]bool{}
	for _, text := range append(indexes, proxy, variable(environ, "HTTPS_PROXY"), variable(environ, "https_proxy"),
		variable(environ, "HTTP_PROXY"), variable(environ, "http_proxy"), variable(environ, "ALL_PROXY"), variable(environ, "all_proxy")) {
		if strings.HasPrefix(text, "file:") {
			return true
		}
		if address := addressOf(text); address != "" {
			targets[address] = true
		}
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	var wg sync.WaitGroup
	answers := make(chan bool, len(targets))
	for address := range targets {
		wg.Go(func() {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			if err == nil {
				conn.Close()
				cancel() // one is enough
			}
			answers <- err == nil
		})
	}
	wg.Wait()
	close(answers)
	for yes := range answers {
		if yes {
			return true
		}
	}
	return false
}

// addressOf gives host:port of a URL or of a bare proxy, "" for neither.
func addressOf(text string) string {
	if text == "" {
		return ""
	}
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return ""
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port)
}
