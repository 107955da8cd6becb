package client

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var sample = Info{
	Proxy: "http://127.0.0.1:4280", CABundle: "/d/bundle.pem", TenantID: "t", ClientID: "c",
	ClientSecret: "canary-secret", SubscriptionID: "s", ResourceGroup: "rg", Workspace: "ws",
	Location: "local", ConfigDir: "/d/azure", BinDir: "/d/bin", PID: 7,
}

func TestWriteThenReadGivesTheSame(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, sample); err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got != sample {
		t.Errorf("read another info than was written")
	}
	stat, err := os.Stat(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	if stat.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, want 0600", stat.Mode().Perm())
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestReadWithoutFileSaysNotRunning(t *testing.T) {
	if _, err := Read(t.TempDir()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("err = %v", err)
	}
}

func TestSecretIsNotPrinted(t *testing.T) {
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "info", sample)
	for _, text := range []string{fmt.Sprint(sample), fmt.Sprintf("%+v %#v", sample, sample), log.String()} {
		if strings.Contains(text, "canary") {
			t.Errorf("secret shown in %q", text)
		}
	}
}

func TestEnvExtendsWhatTheUserHas(t *testing.T) {
	user := map[string]string{"PATH": "/usr/bin:/d/bin:/bin", "no_proxy": "corp.example, localhost"}
	got := map[string]string{}
	for _, kv := range sample.Env(func(k string) string { return user[k] }) {
		k, v, _ := strings.Cut(kv, "=")
		got[k] = v
	}
	want := map[string]string{
		"HTTPS_PROXY": "http://127.0.0.1:4280", "https_proxy": "http://127.0.0.1:4280",
		"NO_PROXY":           "127.0.0.1,localhost,169.254.169.254,corp.example",
		"no_proxy":           "127.0.0.1,localhost,169.254.169.254,corp.example",
		"REQUESTS_CA_BUNDLE": "/d/bundle.pem", "SSL_CERT_FILE": "/d/bundle.pem",
		"CURL_CA_BUNDLE": "/d/bundle.pem", "NODE_EXTRA_CA_CERTS": "/d/bundle.pem",
		"AZURE_CONFIG_DIR": "/d/azure", "AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c",
		"AZURE_CLIENT_SECRET": "canary-secret", "AZURE_SUBSCRIPTION_ID": "s",
		"AZURE_DEFAULTS_GROUP": "rg", "AZURE_DEFAULTS_WORKSPACE": "ws", "AZURE_DEFAULTS_LOCATION": "local",
		"PATH": "/d/bin:/usr/bin:/bin",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDataDirFollowsTheEnvironment(t *testing.T) {
	for _, tt := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"LAPIS_DATA": "/x", "HOME": "/h"}, "/x"},
		{map[string]string{"XDG_DATA_HOME": "/xdg", "HOME": "/h"}, "/xdg/lapis"},
		{map[string]string{"XDG_DATA_HOME": "relative", "HOME": "/h"}, "/h/.local/share/lapis"},
		{map[string]string{"HOME": "/h"}, "/h/.local/share/lapis"},
	} {
		got, err := DataDir(func(k string) string { return tt.env[k] })
		if err != nil || got != tt.want {
			t.Errorf("%v: %q, %v; want %q", tt.env, got, err, tt.want)
		}
	}
}
