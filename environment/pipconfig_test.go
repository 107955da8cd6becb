package environment

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lapis/fault"
)

func TestPipConfigurationBecomesUVs(t *testing.T) {
	listing := "global.cert='/etc/ca.pem'\nglobal.index-url='https://files.example/simple'\ninstall.index-url='https://install.example/simple'\n" +
		"global.extra-index-url='\\nhttps://a.example/simple\\nhttps://b.example/simple'\nglobal.trusted-host='a.example b.example'\n" +
		":env:.timeout='7'\nglobal.timeout='60'\nglobal.proxy='http://u:p@proxy.example:3128'\n"
	environ := []string{"HOME=/h", "PIP_DEFAULT_TIMEOUT=9", "PIP_FIND_LINKS=/wheels https://l.example/", "PYTHONPATH=/evil", "VIRTUAL_ENV=/v", "https_proxy=http://old"}
	c := readPipConfig(listing, environ)
	env := c.uvEnviron(environ, []Option{{"--trusted-host", "c.example"}, {"--pre", ""}})
	got := map[string]string{}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		got[name] = value
	}
	for name, want := range map[string]string{
		"UV_INDEX_URL": "https://install.example/simple", "UV_EXTRA_INDEX_URL": "https://a.example/simple https://b.example/simple",
		"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_FIND_LINKS": "/wheels,https://l.example/", "UV_INSECURE_HOST": "a.example b.example c.example",
		"UV_HTTP_TIMEOUT": "9", "SSL_CERT_FILE": "/etc/ca.pem", "HTTPS_PROXY": "http://u:p@proxy.example:3128", "UV_PRERELEASE": "allow",
		"UV_PYTHON_DOWNLOADS": "never", "PYTHONPATH": "", "VIRTUAL_ENV": "", "https_proxy": "", "HOME": "/h",
	} {
		if got[name] != want {
			t.Errorf("%s=%q, want %q", name, got[name], want)
		}
	}
	if secrets := c.secrets(environ, nil); len(secrets) != 0 { // "p" is too short to strike out everywhere
		t.Errorf("secrets %v", secrets)
	}
}

func TestUVsOwnVariablesStay(t *testing.T) {
	environ := []string{"UV_INDEX_URL=https://mine/simple", "UV_HTTP_TIMEOUT=1", "SSL_CERT_FILE=/mine", "PIP_INDEX_URL=https://pips/simple", "PIP_TIMEOUT=5", "PIP_CERT=/pips"}
	env := readPipConfig("", environ).uvEnviron(environ, nil)
	for name, want := range map[string]string{"UV_INDEX_URL": "https://mine/simple", "UV_HTTP_TIMEOUT": "1", "SSL_CERT_FILE": "/mine"} {
		if got := variable(env, name); got != want {
			t.Errorf("%s=%q, want %q", name, got, want)
		}
	}
}

func TestPipRunsUnattendedAndInPlace(t *testing.T) {
	environ := []string{"PIP_TARGET=/t", "PIP_PREFIX=/p", "PIP_USER=1", "PIP_REQUIRE_VIRTUALENV=1", "PIP_INDEX_URL=https://u:pw@h/s", "PYTHONHOME=/x"}
	env := readPipConfig("", environ).pipEnviron(environ)
	for name, want := range map[string]string{"PIP_TARGET": "", "PIP_PREFIX": "", "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0",
		"PIP_NO_INPUT": "1", "PIP_INDEX_URL": "https://u:pw@h/s", "PYTHONHOME": ""} {
		if got := variable(env, name); got != want {
			t.Errorf("%s=%q, want %q", name, got, want)
		}
	}
}

func TestIndexesOfAConfiguration(t *testing.T) {
	for _, c := range []struct {
		config  pipConfig
		options []Option
		want    []string
	}{
		{pipConfig{}, nil, []string{"https://pypi.org/simple"}},
		{pipConfig{"index-url": "a", "extra-index-url": "b c"}, []Option{{"--extra-index-url", "d"}}, []string{"a", "b", "c", "d"}},
		{pipConfig{"index-url": "a"}, []Option{{"--index-url", "z"}}, []string{"z"}},
		{pipConfig{"no-index": "1"}, nil, nil},
		{pipConfig{}, []Option{{"--no-index", ""}}, nil},
	} {
		if diff := cmp.Diff(c.want, c.config.indexes(c.options)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestPythonTexts(t *testing.T) {
	for in, want := range map[string]string{`'a'`: "a", `"it's"`: "it's", `'a\nb'`: "a\nb", `'say "x"'`: `say "x"`, `'it\'s'`: "it's", `bare`: "bare", `'`: "'", `'\q'`: `\q`} {
		if got := pythonText(in); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestSecretsOfAConfiguration(t *testing.T) {
	c := pipConfig{"index-url": "https://user:pass-one@h/simple", "extra-index-url": "https://token-two@h/x https://u:p%40ss-three@h"}
	got := c.secrets([]string{"UV_INDEX=name=https://u:pass-four@h", "HTTPS_PROXY=http://u:pass-five@p:1"}, []string{"--extra-index-url https://u:pass-six@h"})
	for _, want := range []string{"pass-one", "token-two", "p@ss-three", "p%40ss-three", "pass-four", "pass-five", "pass-six"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not among %v", want, got)
		}
	}
}

func TestRedaction(t *testing.T) {
	for in, want := range map[string]string{
		"see https://u:p@h/x":               "see https://***@h/x",
		"https://tok@h and git+ssh://a:b@c": "https://***@h and git+ssh://***@c",
		"https://u:p@ss@h/x":                "https://***@h/x",
		"https://h/x?sig=abc&y=1":           "https://h/x?sig=***&y=1",
		"https://h/x@1.0":                   "https://h/x@1.0",
		"mail me@example.com":               "mail me@example.com",
	} {
		if got := redact(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestFailuresAreToldApart(t *testing.T) {
	for text, want := range map[string]string{
		"ERROR: Could not find a version that satisfies the requirement x==9 (from versions: 1, 2)\nERROR: No matching distribution found for x==9": "Invalid",
		"WARNING: Retrying after connection broken by 'NewConnectionError'\nERROR: No matching distribution found for six":                          "Unavailable",
		"error: Request failed after 3 retries\n  cause: dns error":                                                                                 "Unavailable",
		"error: HTTP status server error (503 Service Unavailable) for url (https://h)":                                                             "Unavailable",
		"ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device":                                                   "Conflict",
		"error: No solution found\n  cause: Because there is no version of sshtunnel==9":                                                            "Invalid",
		"error: Failed to build `x`\n  cause: The build backend returned an error":                                                                  "Invalid",
	} {
		err := toolFailed(t.Context(), strings.Split(text, "\n"), []string{"https://u:pw@h/simple"}, false)
		if got := kindName(err); got != want {
			t.Errorf("%q: %s (%v)", text, got, err)
		}
		if strings.Contains(err.Error(), "pw") {
			t.Errorf("told: %v", err)
		}
	}
}

func TestAddressOfIndexes(t *testing.T) {
	for in, want := range map[string]string{"https://h/simple": "h:443", "http://h": "h:80", "http://u:p@h:8081/x": "h:8081", "proxy:3128": "proxy:3128",
		"socks5://s": "s:1080", "": "", "://": "", "https://[::1]:8/x": net.JoinHostPort("::1", "8")} {
		if got := addressOf(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func kindName(err error) string {
	for kind, name := range map[fault.Kind]string{fault.Invalid: "Invalid", fault.Unavailable: "Unavailable", fault.Conflict: "Conflict"} {
		if fault.Is(err, kind) {
			return name
		}
	}
	return "other"
}
