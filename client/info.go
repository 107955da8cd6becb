// Package client owns client.json, the file by which `lapis up` tells the
// programs of the same machine how to reach it, and the environment variables
// that make any Azure client do so.
//
// The file holds the local owner's secret: it is written with mode 0600, whole
// or not at all.
package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"lapis/diskfile"
)

// FileName is the name of the file inside the data folder.
const FileName = "client.json"

// Info is what a client needs to reach a running platform.
type Info struct {
	Proxy          string `json:"proxy"`    // URL of the gateway, such as http://127.0.0.1:4280
	CABundle       string `json:"caBundle"` // PEM file: the machine's roots and ours
	TenantID       string `json:"tenantId"`
	ClientID       string `json:"clientId"`
	ClientSecret   string `json:"clientSecret"`
	SubscriptionID string `json:"subscriptionId"`
	ResourceGroup  string `json:"resourceGroup"`
	Workspace      string `json:"workspace"`
	Location       string `json:"location"`
	ConfigDir      string `json:"configDir"` // AZURE_CONFIG_DIR
	BinDir         string `json:"binDir"`    // folder that holds the link named az
	PID            int    `json:"pid"`       // process of `lapis up`
}

// ErrNotRunning means that the data folder has no client file.
var ErrNotRunning = errors.New("lapis is not running; start it with `lapis up`")

// DataDir returns the data folder: $LAPIS_DATA, else lapis in the XDG data
// folder, else ~/.local/share/lapis.
func DataDir(getenv func(string) string) (string, error) {
	if dir := getenv("LAPIS_DATA"); dir != "" {
		return filepath.Abs(dir)
	}
	if dir := getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "lapis"), nil
	}
	home := getenv("HOME")
	if home == "" {
		return "", errors.New("no data folder: set LAPIS_DATA, or HOME")
	}
	return filepath.Join(home, ".local", "share", "lapis"), nil
}

// Read returns what the platform of the data folder wrote. The error is
// ErrNotRunning when there is no file.
func Read(dataDir string) (Info, error) {
	name := filepath.Join(dataDir, FileName)
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Info{}, ErrNotRunning
	}
	if err != nil {
		return Info{}, err
	}
	var info Info
	if err := json.Unmarshal(data, &info); err != nil {
		return Info{}, fmt.Errorf("%s does not parse (%v); `lapis up` writes it anew", name, err)
	}
	return info, nil
}

// Write replaces the file of the data folder. After it returns, the file is on
// disk; a crash before leaves the old one.
func Write(dataDir string, info Info) error {
	data, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return err
	}
	return diskfile.Write(filepath.Join(dataDir, FileName), append(data, '\n'), 0o600)
}

// LogValue keeps the secret out of logs.
func (i Info) LogValue() slog.Value {
	return slog.GroupValue(slog.String("proxy", i.Proxy), slog.String("clientId", i.ClientID),
		slog.String("subscriptionId", i.SubscriptionID), slog.Int("pid", i.PID))
}

// String keeps the secret out of messages.
func (i Info) String() string { return "lapis at " + i.Proxy }

// GoString keeps the secret out of messages.
func (i Info) GoString() string { return i.String() }

// localNames are reached without the proxy: the token endpoints of instances.
var localNames = [...]string{"127.0.0.1", "localhost", "169.254.169.254"}

// Env returns the variables, as NAME=value, that lead every Azure client of a
// shell to the platform. getenv gives the user's own values: NO_PROXY and PATH
// are extended, never replaced. Entries without a value are left out.
func (i Info) Env(getenv func(string) string) []string {
	var env []string
	add := func(value string, names ...string) {
		if value == "" {
			return
		}
		for _, name := range names {
			env = append(env, name+"="+value)
		}
	}
	add(i.Proxy, "HTTPS_PROXY", "https_proxy")
	had := getenv("NO_PROXY")
	if had == "" {
		had = getenv("no_proxy")
	}
	add(prepend(had, ",", localNames[:]...), "NO_PROXY", "no_proxy")
	add(i.CABundle, "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
	add(i.ConfigDir, "AZURE_CONFIG_DIR")
	add(i.TenantID, "AZURE_TENANT_ID")
	add(i.ClientID, "AZURE_CLIENT_ID")
	add(i.ClientSecret, "AZURE_CLIENT_SECRET")
	add(i.SubscriptionID, "AZURE_SUBSCRIPTION_ID")
	add(i.ResourceGroup, "AZURE_DEFAULTS_GROUP")
	add(i.Workspace, "AZURE_DEFAULTS_WORKSPACE")
	add(i.Location, "AZURE_DEFAULTS_LOCATION")
	if i.BinDir != "" {
		add(prepend(getenv("PATH"), string(os.PathListSeparator), i.BinDir), "PATH")
	}
	return env
}

// prepend puts parts in front of a separated list, each once.
func prepend(list, sep string, parts ...string) string {
	out := append([]string(nil), parts...)
next:
	for _, have := range strings.Split(list, sep) {
		if have == "" {
			continue
		}
		for _, part := range parts {
			if strings.TrimSpace(have) == part {
				continue next
			}
		}
		out = append(out, have)
	}
	return strings.Join(out, sep)
}
