package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/pprof"

	"lapis/fault"
	"lapis/heap"
	"lapis/http1"
	"lapis/logline"
	"lapis/processors"
	"lapis/scoring"
	"lapis/socket"
	"lapis/telemetry"
	"lapis/worker"
	workerprocess "lapis/worker/process"
)

// spec is the script's instance, with one thread for its arithmetic, as all
// others have it here.
func spec(dir, python string) worker.Spec {
	env := []string{"PATH=" + os.Getenv("PATH"), "OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1"}
	return worker.Spec{Python: python, Dir: dir, Script: "score.py", Env: env}
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
	heap.Floor(32 << 20) // as `lapis up`, and so the next line
	processors.LeaveOne()
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
		Spec: func(context.Context, int) (worker.Spec, func(), error) { return spec(dir, python), nil, nil },
	})
	if err := pool.Start(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, pool.Log().Tail(20))
	}
	defer pool.Close(context.Background())
	metrics := telemetry.NewMetrics(telemetry.MetricsConfig{State: func() telemetry.State { return telemetry.State{} }})
	log := slog.New(logline.NewTextHandler(logline.NewWriter(logFile), slog.LevelInfo)) // as lapis up has it
	front := &scoring.Front{OnEvent: func(ctx context.Context, e scoring.Event) {
		r := telemetry.Request(e)
		metrics.Scored(&r)
		telemetry.AccessLine(ctx, log, telemetry.LinesAll, &r)
	}}
	endpoint := scoring.Endpoint{Name: "bench", Authorize: authorize, Deployments: map[string]*scoring.Pool{"blue": pool}, Traffic: map[string]int{"blue": 100}}
	if err := front.Set(host, endpoint); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	server := &http1.Server{Handler: front} // as the gateway has it for scoring hosts
	context.AfterFunc(ctx, func() { listener.Close() })
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			server.Close()
			return nil
		}
		if err != nil {
			return err
		}
		go server.ServeConn(ctx, socket.Quick(conn))
	}
}

func authorize(_ context.Context, bearer string) error {
	given, want := sha256.Sum256([]byte(bearer)), sha256.Sum256([]byte(key))
	if subtle.ConstantTimeCompare(given[:], want[:]) != 1 {
		return fault.E(fault.Unauthenticated, "key_auth_access_denied", "The key is not one of the endpoint's.")
	}
	return nil
}
