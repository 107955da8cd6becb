package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	host = "bench.westeurope.inference.ml.azure.com"
	key  = "the-key-of-the-benchmark"
)

// process is a server that runs.
type process struct {
	cmd     *exec.Cmd
	address string
	request []byte
	answer  string // to the first request, which all later ones must equal
}

func (p *process) stop() error {
	if p == nil {
		return nil
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) { // by the signal
		return nil
	}
	return err
}

// warm waits for a right answer, keeps it for comparison, and loads the server a little.
func (p *process) warm(ctx context.Context, connections int) error {
	var err error
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		if p.answer, err = p.once(ctx); err == nil {
			_, err = p.load(ctx, connections, time.Second)
			return err
		}
	}
	return errors.Join(err, ctx.Err())
}

// once asks one question over a connection of its own.
func (p *process) once(ctx context.Context) (string, error) {
	dialer := net.Dialer{Timeout: 10 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := conn.Write(p.request); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("answered %s: %s", resp.Status, body)
	}
	return string(body), err
}

func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(), "OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1")
	return cmd
}

func startLapis(ctx context.Context, dir, python, profile string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := command(ctx, self, "-profile", profile, "-serve", dir, python)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(err, cmd.Wait())
	}
	return &process{cmd: cmd, address: strings.TrimSpace(address), request: request(host, "Authorization: Bearer "+key+"\r\n")}, nil
}

func request(host, more string) []byte {
	return fmt.Appendf(nil, "POST /score HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s",
		host, more, len(requestBody), requestBody)
}
