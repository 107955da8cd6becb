package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"lapis/gateway"
)

// The floor is a second process of this program: plain net/http handlers behind
// the same gateway (proxy, TLS with the same kind of certificate) as the
// platform's faces, and a file sent over bare TLS.
const (
	floorHost = "floor.local.inference.ml.azure.com"
	floorURL  = "https://" + floorHost
)

type floor struct {
	http *http.Client
	raw  string // address of the bare TLS listener
	tls  *tls.Config
}

// serveFloor is that process. It ends with its standard input.
func serveFloor(dir string) error {
	ca, err := gateway.LoadOrCreateCA(dir, nil, nil)
	if err != nil {
		return err
	}
	small := make([]byte, 1024)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /score", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "[0, 0]")
	})
	mux.HandleFunc("GET /small", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(small) })
	door := gateway.New(gateway.Config{CA: ca, Face: func(string) (http.Handler, bool) { return mux, true }})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	leaf, err := ca.Leaf("localhost")
	if err != nil {
		return err
	}
	raw, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*leaf}})
	if err != nil {
		return err
	}
	go sendFile(raw, filepath.Join(dir, "large"))
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	fmt.Println(listener.Addr(), raw.Addr())
	return door.Serve(ctx, listener)
}

// sendFile writes the file into every connection.
func sendFile(l net.Listener, name string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			file, err := os.Open(name)
			if err != nil {
				return
			}
			defer file.Close()
			_, _ = io.Copy(conn, file)
		}()
	}
}

// startFloor starts that process; it ends with stop.
func startFloor(ctx context.Context, dir string) (_ *floor, stop func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "large"), large(), 0o600); err != nil {
		return nil, nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-floor", dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	stop = func() {
		_ = in.Close()
		_ = cmd.Wait()
	}
	var front, raw string
	if _, err := fmt.Fscanln(out, &front, &raw); err != nil {
		stop()
		return nil, nil, fmt.Errorf("the floor did not start: %w", err)
	}
	f := &floor{raw: strings.TrimSpace(raw)}
	f.http, err = httpClient("http://"+front, filepath.Join(dir, "ca.pem"))
	if err != nil {
		stop()
		return nil, nil, err
	}
	f.tls = f.http.Transport.(*http.Transport).TLSClientConfig.Clone()
	f.tls.ServerName = "localhost"
	return f, stop, nil
}

// receive takes the file over bare TLS.
func (f *floor) receive() error {
	conn, err := tls.Dial("tcp", f.raw, f.tls)
	if err != nil {
		return err
	}
	defer conn.Close()
	n, err := io.Copy(io.Discard, conn)
	if err == nil && n != largeSize {
		err = fmt.Errorf("%d bytes of the file came", n)
	}
	return err
}
