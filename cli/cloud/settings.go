// Package cloud is the client's side of Azure's wire: it finds the platform,
// signs in, calls the resource manager and waits for its long operations.
//
// Where things come from, first found wins. Credentials: `az login` in this
// configuration folder, the AZURE_* variables, client.json. The way to the
// platform (proxy and certificates): the variables when they carry credentials
// and a proxy, else client.json. Defaults of arguments: the AZURE_DEFAULTS_*
// variables, the configuration file, client.json.
package cloud

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"lapis/client"
)

// Credential is a service principal that signs in with a secret.
type Credential struct {
	Tenant   string `json:"tenant"`
	ClientID string `json:"clientId"`
	Secret   string `json:"secret"`
}

// Settings say how to reach the platform, and what arguments default to.
type Settings struct {
	Proxy        string // URL; "" with FromEnv means no proxy
	CABundle     string // PEM file, or ""
	FromEnv      bool   // the way was found in the variables, NO_PROXY and all
	Credential   Credential
	Subscription string
	ConfigDir    string
	DataDir      string
	Config       *Config
	Fallback     map[string]string // defaults of arguments that client.json gives
	Getenv       func(string) string
}

// Find reads the settings. The error is client.ErrNotRunning when neither the
// variables nor client.json lead to a platform.
func Find(getenv func(string) string, dataDir string) (*Settings, error) {
	s := &Settings{Getenv: getenv, DataDir: dataDir, ConfigDir: getenv("AZURE_CONFIG_DIR"), Fallback: map[string]string{}}
	env := Credential{Tenant: getenv("AZURE_TENANT_ID"), ClientID: getenv("AZURE_CLIENT_ID"), Secret: getenv("AZURE_CLIENT_SECRET")}
	proxy := first(getenv("HTTPS_PROXY"), getenv("https_proxy"))
	s.FromEnv = env.complete() && proxy != ""

	if s.DataDir == "" {
		dir, err := client.DataDir(getenv)
		if err != nil && !s.FromEnv {
			return nil, err
		}
		s.DataDir = dir
	}
	info, err := client.Read(s.DataDir)
	switch {
	case err != nil && s.FromEnv: // an eval'd environment is enough, even of another machine
	case err != nil:
		return nil, err
	}
	s.Proxy, s.CABundle = info.Proxy, info.CABundle
	s.Credential = Credential{Tenant: info.TenantID, ClientID: info.ClientID, Secret: info.ClientSecret}
	s.ConfigDir = first(s.ConfigDir, info.ConfigDir, filepath.Join(getenv("HOME"), ".azure"))
	s.Fallback = map[string]string{"group": info.ResourceGroup, "workspace": info.Workspace, "location": info.Location}
	if s.FromEnv {
		s.Proxy, s.CABundle = proxy, first(getenv("REQUESTS_CA_BUNDLE"), getenv("SSL_CERT_FILE"))
	}
	if env.complete() {
		s.Credential = env
	}

	s.Config, err = ReadConfig(filepath.Join(s.ConfigDir, "config"))
	if err != nil {
		return nil, err
	}
	account, err := s.account()
	if err != nil {
		return nil, err
	}
	if account.Credential.complete() {
		s.Credential = account.Credential
	}
	s.Subscription = first(account.Subscription, getenv("AZURE_SUBSCRIPTION_ID"), info.SubscriptionID)
	return s, s.check()
}

func (s *Settings) check() error {
	if s.Proxy != "" {
		if u, err := url.Parse(s.Proxy); err != nil || u.Host == "" {
			return fmt.Errorf("the proxy %q is not a URL such as http://127.0.0.1:4280", s.Proxy)
		}
	}
	if !s.Credential.complete() {
		return errors.New("no credentials: run eval \"$(lapis env)\", or az login --service-principal")
	}
	return nil
}

func (c Credential) complete() bool { return c.Tenant != "" && c.ClientID != "" && c.Secret != "" }

// Default returns the configured default of an argument: group, workspace,
// location, or any name given to `az configure --defaults`.
func (s *Settings) Default(name string) string {
	if value := s.Config.Option(s.Getenv, "defaults", name); value != "" {
		return value
	}
	if name == "workspace" { // a slip of the pen in a published article
		if value := s.Config.Option(s.Getenv, "defaults", "gitworkspace"); value != "" {
			return value
		}
	}
	return s.Fallback[name]
}

// first returns the first text that is not empty.
func first(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// makeConfigDir makes the configuration folder where it is missing.
func (s *Settings) makeConfigDir() error {
	return os.MkdirAll(s.ConfigDir, 0o700)
}
