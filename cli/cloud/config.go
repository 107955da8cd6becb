package cloud

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"lapis/diskfile"
)

// Config is az's configuration file: sections of name = value. Lines that it
// does not change are kept as they are.
type Config struct {
	path  string
	lines []string
}

// ReadConfig reads the file; a missing one is empty.
func ReadConfig(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	c := &Config{path: path}
	if len(data) > 0 {
		text := strings.ReplaceAll(string(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))), "\r\n", "\n")
		c.lines = strings.Split(strings.TrimRight(text, "\n"), "\n")
	}
	return c, nil
}

// Option returns section.name, the variable AZURE_SECTION_NAME first.
func (c *Config) Option(getenv func(string) string, section, name string) string {
	env := "AZURE_" + strings.ToUpper(strings.ReplaceAll(section+"_"+name, "-", "_"))
	if value := getenv(env); value != "" {
		return value
	}
	value, _ := c.Get(section, name)
	return value
}

// Get returns section.name of the file.
func (c *Config) Get(section, name string) (string, bool) {
	found, value := false, ""
	c.each(func(_ int, sec, key, val string) {
		if sec == section && strings.EqualFold(key, name) {
			value, found = val, true
		}
	})
	return value, found
}

// All returns the values of the file by section and name.
func (c *Config) All() map[string]map[string]string {
	all := map[string]map[string]string{}
	c.each(func(_ int, section, key, value string) {
		if all[section] == nil {
			all[section] = map[string]string{}
		}
		all[section][key] = value
	})
	return all
}

// each calls f for every name = value, with the index of its line.
func (c *Config) each(f func(line int, section, key, value string)) {
	section := ""
	for i, line := range c.lines {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[' && strings.HasSuffix(line, "]"):
			section = strings.TrimSpace(line[1 : len(line)-1])
		default:
			if key, value, ok := strings.Cut(line, "="); ok {
				f(i, section, strings.TrimSpace(key), strings.TrimSpace(value))
			}
		}
	}
}

// Set changes or adds section.name.
func (c *Config) Set(section, name, value string) error {
	if strings.ContainsAny(section+name+value, "\n\r") || strings.ContainsAny(name, "=[]#;") || name == "" || strings.ContainsAny(section, "[]") {
		return fmt.Errorf("%q cannot be kept in the configuration file", section+"."+name)
	}
	text := name + " = " + value
	at, end, current := -1, -1, ""
	c.each(func(line int, sec, key, _ string) {
		if sec == section && strings.EqualFold(key, name) {
			at = line
		}
	})
	if at >= 0 {
		c.lines[at] = text
		return nil
	}
	for i, line := range c.lines {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") {
			current = strings.TrimSpace(line[1 : len(line)-1])
		}
		if current == section && line != "" {
			end = i + 1
		}
	}
	if end < 0 {
		c.lines = append(c.lines, "["+section+"]", text)
		return nil
	}
	c.lines = append(c.lines[:end:end], append([]string{text}, c.lines[end:]...)...)
	return nil
}

// Unset takes away section.name and reports whether it was there.
func (c *Config) Unset(section, name string) bool {
	at := -1
	c.each(func(line int, sec, key, _ string) {
		if sec == section && strings.EqualFold(key, name) {
			at = line
		}
	})
	if at < 0 {
		return false
	}
	c.lines = append(c.lines[:at:at], c.lines[at+1:]...)
	return true
}

// Save writes the file.
func (c *Config) Save() error {
	if err := os.MkdirAll(filepath.Dir(c.path), 0o700); err != nil {
		return err
	}
	return diskfile.Write(c.path, []byte(strings.Join(c.lines, "\n")+"\n"), 0o600)
}
