package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lapis/fault"
	"lapis/scoring"
	"lapis/worker"
	workerprocess "lapis/worker/process"
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
	answer  string // "" until the first, which the others must equal
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
		c := client{address: p.address, request: p.request}
		err = c.call("")
		c.close()
		if err == nil {
			_, err = p.load(ctx, connections, time.Second)
			return err
		}
	}
	return errors.Join(err, ctx.Err())
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

func startAzure(ctx context.Context, dir, python string) (*process, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := listener.Addr().String()
	listener.Close()
	_, port, _ := net.SplitHostPort(address)
	// Its command line is a script beside the interpreter; this is what that script calls.
	cmd := command(ctx, python, "-c", "from azureml_inference_server_http.amlserver import run; run()",
		"--entry_script", filepath.Join(dir, "score.py"), "--port", port)
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &process{cmd: cmd, address: address, request: request("localhost", "")}, nil
}

func request(host, more string) []byte {
	return fmt.Appendf(nil, "POST /score HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s",
		host, more, len(requestBody), requestBody)
}

// serve is Lapis' part: front, pool and worker with all that a request costs
// there, but for the role assignments, which are looked up with tokens only.
func serve(ctx context.Context, dir, python, profile string) error {
	if profile != "" {
		file, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	runtime, err := workerprocess.New(workerprocess.Config{Dir: filepath.Join(dir, "workers")})
	if err != nil {
		return err
	}
	defer runtime.Close(context.Background())
	logFile, err := os.Create(filepath.Join(dir, "lapis.log"))
	if err != nil {
		return err
	}
	defer logFile.Close()
	console, err := os.Create(filepath.Join(dir, "console.log"))
	if err != nil {
		return err
	}
	defer console.Close()
	pool := scoring.NewPool(scoring.PoolConfig{
		Name: "bench/blue", Runtime: runtime, MaxConcurrent: 64, Log: scoring.NewLogRing(0, console),
		Spec: func(context.Context, int) (worker.Spec, func(), error) {
			env := []string{"PATH=" + os.Getenv("PATH"), "OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1"}
			return worker.Spec{Python: python, Dir: dir, Script: "score.py", Env: env}, nil, nil
		},
	})
	if err := pool.Start(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, pool.Log().Tail(20))
	}
	defer pool.Close(context.Background())
	front := &scoring.Front{Logger: slog.New(slog.NewJSONHandler(logFile, nil))}
	endpoint := scoring.Endpoint{Name: "bench", Authorize: authorize, Deployments: map[string]*scoring.Pool{"blue": pool}, Traffic: map[string]int{"blue": 100}}
	if err := front.Set(host, endpoint); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	server := &http.Server{Handler: front, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func authorize(_ context.Context, bearer string) error {
	given, want := sha256.Sum256([]byte(bearer)), sha256.Sum256([]byte(key))
	if subtle.ConstantTimeCompare(given[:], want[:]) != 1 {
		return fault.E(fault.Unauthenticated, "key_auth_access_denied", "The key is not one of the endpoint's.")
	}
	return nil
}

// usage is the CPU time of a process and of its children.
type usage struct{ own, children time.Duration }

// cpu reads the scheduler's accounts.
func (p *process) cpu() (usage, error) {
	var u usage
	var err error
	if u.own, err = scheduled(p.cmd.Process.Pid); err != nil {
		return u, err
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return u, err
	}
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		after := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if parent, _ := strconv.Atoi(string(after[1])); parent != p.cmd.Process.Pid {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		spent, err := scheduled(pid)
		if err != nil {
			return u, err
		}
		u.children += spent
	}
	return u, nil
}

// scheduled is the time that the threads of a process have had on a CPU.
func scheduled(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, errors.Join(err, fmt.Errorf("the accounts of process %d cannot be read", pid))
	}
	var sum time.Duration
	for _, path := range files {
		file, err := os.Open(path)
		if err != nil {
			continue // the thread has ended
		}
		line, err := io.ReadAll(file)
		file.Close()
		if err != nil {
			return 0, err
		}
		first, _, _ := strings.Cut(string(line), " ")
		nanos, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(nanos)
	}
	return sum, nil
}
