package main

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed starlette.py
var starletteApp []byte // read-only

// startAzure starts Azure's own server, with the defaults of its images.
func startAzure(ctx context.Context, dir, python string) (*process, error) {
	address, port, err := freeAddress()
	if err != nil {
		return nil, err
	}
	// Its command line is a script beside the interpreter; this is what that script calls.
	cmd := command(ctx, python, "-c", "from azureml_inference_server_http.amlserver import run; run()",
		"--entry_script", filepath.Join(dir, "score.py"), "--port", port)
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &process{cmd: cmd, address: address, request: request("localhost", "")}, nil
}

// startStarlette starts the script behind Starlette on uvicorn, with uvloop
// and httptools, one worker, no access log.
func startStarlette(ctx context.Context, dir, python string) (*process, error) {
	address, port, err := freeAddress()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "app.py"), starletteApp, 0o600); err != nil {
		return nil, err
	}
	cmd := command(ctx, python, "-m", "uvicorn", "app:app", "--host", "127.0.0.1", "--port", port,
		"--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &process{cmd: cmd, address: address, request: request("localhost", "")}, nil
}

// nginxConf has one worker, which keeps its connections to the server behind it.
const nginxConf = `
daemon off; worker_processes 1; pid %[1]s/nginx.pid; error_log stderr crit;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 1000000;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  upstream behind { server %[2]s; keepalive 64; keepalive_requests 1000000; }
  server {
    listen %[3]s;
    location / { proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; }
  }
}
`

// startNginx starts nginx as a proxy in front of another server.
func startNginx(ctx context.Context, dir string, behind *process) (*process, error) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			return nil, fmt.Errorf("no nginx on PATH: %w", err)
		}
	}
	address, _, err := freeAddress()
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, dir, behind.address, address), 0o600); err != nil {
		return nil, err
	}
	cmd := command(ctx, program, "-p", dir, "-c", conf)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &process{cmd: cmd, address: address, request: behind.request}, nil
}

// freeAddress is one that nothing listens on now.
func freeAddress() (address, port string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer listener.Close()
	address = listener.Addr().String()
	_, port, err = net.SplitHostPort(address)
	return address, port, err
}
