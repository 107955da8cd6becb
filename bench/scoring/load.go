package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

const requestBody = `{"data": [[1,2,3,4,5,6,7,8,9,10],[10,9,8,7,6,5,4,3,2,1]]}`

// loaded is what one spell of load has given.
type loaded struct {
	requests int
	took     time.Duration
	median   time.Duration
}

// load keeps some connections busy for a while, each with one request at a
// time, and fails at the first answer that is not the right one.
func (p *process) load(ctx context.Context, connections int, spell time.Duration) (loaded, error) {
	type part struct {
		times []time.Duration
		err   error
	}
	parts := make(chan part)
	began := time.Now()
	until := began.Add(spell)
	for range connections {
		go func() {
			c := client{address: p.address, request: p.request}
			defer c.close()
			var out part
			for out.err == nil && ctx.Err() == nil && time.Now().Before(until) {
				start := time.Now()
				out.err = c.call(p.answer)
				out.times = append(out.times, time.Since(start))
			}
			parts <- out
		}()
	}
	var all []time.Duration
	var errs []error
	for range connections {
		part := <-parts
		all = append(all, part.times...)
		errs = append(errs, part.err)
	}
	took := time.Since(began)
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return loaded{}, err
	}
	slices.Sort(all)
	return loaded{requests: len(all), took: took, median: all[len(all)/2]}, nil
}

// client is one connection, opened again where the server closes it.
type client struct {
	address string
	request []byte
	conn    net.Conn
	reader  *bufio.Reader
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func (c *client) call(want string) error {
	if c.conn == nil {
		conn, err := net.Dial("tcp", c.address)
		if err != nil {
			return err
		}
		c.conn, c.reader = conn, bufio.NewReader(conn)
	}
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	status, err := c.reader.ReadString('\n')
	if err != nil {
		return err
	}
	length, keep := -1, true
	for {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		name, value, _ := strings.Cut(string(line), ":")
		switch {
		case strings.EqualFold(name, "Content-Length"):
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				return err
			}
		case strings.EqualFold(name, "Connection"):
			keep = !strings.EqualFold(strings.TrimSpace(value), "close")
		}
	}
	if length < 0 {
		return errors.New("an answer without a length")
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(c.reader, body); err != nil {
		return err
	}
	if !strings.Contains(status, " 200 ") || (want != "" && string(body) != want) {
		return fmt.Errorf("answered %s %s", strings.TrimSpace(status), body)
	}
	if !keep {
		c.close()
	}
	return nil
}
