package environment

import (
	"bufio"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// pipConfig is the user's pip configuration: option names in long form without
// dashes, values as pip reads them. Values may hold credentials.
type pipConfig map[string]string

// readPipConfig merges the output of `pip config list` (what the files say) and
// the PIP_ variables, in pip's order: files' global section, their install
// section, the environment.
func readPipConfig(listing string, environ []string) pipConfig {
	c := pipConfig{}
	for _, section := range []string{"global.", "install."} {
		scan := bufio.NewScanner(strings.NewReader(listing))
		scan.Buffer(nil, 1<<20)
		for scan.Scan() {
			key, value, ok := strings.Cut(scan.Text(), "=")
			if name, in := strings.CutPrefix(key, section); ok && in {
				c.set(name, pythonText(value))
			}
		}
	}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if option, ok := strings.CutPrefix(name, "PIP_"); ok && value != "" {
			c.set(option, value)
		}
	}
	return c
}

func (c pipConfig) set(name, value string) {
	name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	if name == "default-timeout" {
		name = "timeout"
	}
	c[name] = value
}

// pythonText reads Python's repr of a text, as far as pip's listing needs it.
func pythonText(repr string) string {
	if len(repr) < 2 || (repr[0] != '\'' && repr[0] != '"') || repr[len(repr)-1] != repr[0] {
		return repr
	}
	inner := repr[1 : len(repr)-1]
	if repr[0] == '\'' {
		inner = strings.ReplaceAll(strings.ReplaceAll(inner, `\'`, `'`), `"`, `\"`)
	}
	text, err := strconv.Unquote(`"` + inner + `"`)
	if err != nil {
		return inner
	}
	return text
}

func (c pipConfig) on(name string) bool {
	switch strings.ToLower(c[name]) {
	case "1", "true", "yes", "on", "y", "t":
		return true
	}
	return false
}

// findLinks returns the find-links entries, local ones as absolute paths,
// because the tools run in a folder of their own.
func (c pipConfig) findLinks() []string {
	links := strings.Fields(c["find-links"])
	for i, link := range links {
		if strings.Contains(link, "://") || strings.HasPrefix(link, "file:") || filepath.IsAbs(link) {
			continue
		}
		if abs, err := filepath.Abs(link); err == nil {
			links[i] = abs
		}
	}
	return links
}

// indexes returns the URLs of the package indexes that will be asked, the
// conda file's own options included. None means that no index is to be used.
func (c pipConfig) indexes(options []Option) []string {
	index, extra := c["index-url"], strings.Fields(c["extra-index-url"])
	none := c.on("no-index")
	for _, o := range options {
		switch o.Name {
		case "--index-url":
			index = o.Value
		case "--extra-index-url":
			extra = append(extra, o.Value)
		case "--no-index":
			none = true
		}
	}
	if none {
		return nil
	}
	if index == "" {
		index = "https://pypi.org/simple"
	}
	return append([]string{index}, extra...)
}

// pipEnviron is the environment in which pip runs: the user's, less what would
// make pip install elsewhere, ask questions or draw bars.
func (c pipConfig) pipEnviron(environ []string) []string {
	env := without(pythonEnviron(environ), "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON", "PIP_REQUIREMENT",
		"PIP_EDITABLE", "PIP_DRY_RUN", "PIP_REPORT", "PIP_QUIET", "PIP_VERBOSE", "PIP_LOG")
	for _, set := range [][2]string{{"PIP_USER", "0"}, {"PIP_REQUIRE_VIRTUALENV", "0"}, {"PIP_NO_INPUT", "1"},
		{"PIP_DISABLE_PIP_VERSION_CHECK", "1"}, {"PIP_PROGRESS_BAR", "off"}, {"PIP_NO_COLOR", "1"}, {"PIP_ROOT_USER_ACTION", "ignore"}} {
		env = with(env, set[0], set[1])
	}
	if links := c.findLinks(); len(links) > 0 {
		env = with(env, "PIP_FIND_LINKS", strings.Join(links, " "))
	}
	if c["retries"] == "" {
		env = with(env, "PIP_RETRIES", "2")
	}
	return env
}

// uvEnviron is the environment in which uv runs: the user's, with what the pip
// configuration says put into uv's own terms. A variable of uv's that the user
// has set stays as it is.
func (c pipConfig) uvEnviron(environ []string, options []Option) []string {
	env := without(pythonEnviron(environ), "UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_PROJECT", "UV_PROJECT_ENVIRONMENT",
		"UV_WORKING_DIR", "UV_BREAK_SYSTEM_PACKAGES", "UV_VENV_SEED", "UV_VENV_CLEAR")
	env = with(with(with(env, "UV_PYTHON_DOWNLOADS", "never"), "UV_NO_PROGRESS", "1"), "NO_COLOR", "1")
	fill := func(name, value string) {
		if value != "" && variable(env, name) == "" {
			env = with(env, name, value)
		}
	}
	if variable(env, "UV_DEFAULT_INDEX") == "" && variable(env, "UV_INDEX") == "" {
		fill("UV_INDEX_URL", c["index-url"])
		fill("UV_EXTRA_INDEX_URL", strings.Join(strings.Fields(c["extra-index-url"]), " "))
	}
	hosts := strings.Fields(c["trusted-host"])
	for _, o := range options {
		switch o.Name {
		case "--trusted-host":
			hosts = append(hosts, o.Value)
		case "--pre":
			fill("UV_PRERELEASE", "allow")
		}
	}
	if len(c.indexes(options)) > 1 {
		fill("UV_INDEX_STRATEGY", "unsafe-best-match") // pip takes the best of all indexes
	}
	if c.on("pre") {
		fill("UV_PRERELEASE", "allow")
	}
	if c.on("no-index") {
		fill("UV_NO_INDEX", "1")
	}
	if c.on("no-cache-dir") {
		fill("UV_NO_CACHE", "1")
	}
	if c.on("require-hashes") {
		fill("UV_REQUIRE_HASHES", "1")
	}
	fill("UV_FIND_LINKS", strings.Join(c.findLinks(), ","))
	fill("UV_INSECURE_HOST", strings.Join(hosts, " "))
	fill("UV_CONSTRAINT", c["constraint"])
	fill("UV_HTTP_TIMEOUT", c["timeout"])
	fill("UV_HTTP_RETRIES", c["retries"])
	fill("SSL_CLIENT_CERT", c["client-cert"])
	if provider := c["keyring-provider"]; provider == "subprocess" || provider == "import" {
		fill("UV_KEYRING_PROVIDER", "subprocess")
	}
	fill("UV_LINK_MODE", "copy") // hard links would let a script reach into the user's uv cache
	if proxy := c["proxy"]; proxy != "" {
		if !strings.Contains(proxy, "://") {
			proxy = "http://" + proxy
		}
		env = with(without(env, "http_proxy", "https_proxy", "all_proxy", "ALL_PROXY"), "HTTP_PROXY", proxy)
		env = with(env, "HTTPS_PROXY", proxy)
	}
	return c.trust(env)
}

// trust gives uv the roots that pip uses: its own setting, else the ones that
// requests reads, else the machine's.
func (c pipConfig) trust(env []string) []string {
	bundle := c["cert"]
	for _, name := range []string{"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"} {
		if bundle == "" {
			bundle = variable(env, name)
		}
	}
	if bundle != "" && variable(env, "SSL_CERT_FILE") == "" {
		return with(env, "SSL_CERT_FILE", bundle)
	}
	if variable(env, "SSL_CERT_FILE") == "" && variable(env, "UV_SYSTEM_CERTS") == "" && variable(env, "UV_NATIVE_TLS") == "" {
		return with(with(env, "UV_SYSTEM_CERTS", "1"), "UV_NATIVE_TLS", "1") // the new name and the old
	}
	return env
}

// pythonEnviron takes out what would lead an interpreter to another installation.
func pythonEnviron(environ []string) []string {
	env := without(environ, "PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONUSERBASE", "VIRTUAL_ENV", "CONDA_PREFIX",
		"__PYVENV_LAUNCHER__", "PYTHONDONTWRITEBYTECODE")
	return with(env, "PYTHONUNBUFFERED", "1")
}

// secrets returns the passwords that the configuration and the conda file's
// options hold, so that they can be struck from whatever a tool prints.
func (c pipConfig) secrets(environ []string, lines []string) []string {
	texts := append([]string{c["index-url"], c["extra-index-url"], c["find-links"], c["proxy"]}, lines...)
	for _, name := range []string{"UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS",
		"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		texts = append(texts, variable(environ, name))
	}
	var found []string
	for _, word := range strings.Fields(strings.ReplaceAll(strings.Join(texts, " "), ",", " ")) {
		at := strings.Index(word, "://")
		if at < 0 {
			continue
		}
		u, err := url.Parse(word[strings.LastIndexByte(word[:at], '=')+1:])
		if err != nil || u.User == nil {
			continue
		}
		password, has := u.User.Password()
		if !has {
			password = u.User.Username() // a bare token
		}
		if len(password) > 3 {
			found = append(found, password, url.QueryEscape(password), url.PathEscape(password))
		}
	}
	return found
}
