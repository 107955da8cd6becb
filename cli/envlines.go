package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// envLines writes NAME=value entries as a shell reads them.
func envLines(shell string, env []string, unset bool, getenv func(string) string) []string {
	var lines []string
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		if unset && name == "PATH" { // what env put in front is taken off again
			bin, _, _ := strings.Cut(value, string(os.PathListSeparator))
			value = without(getenv("PATH"), bin)
		}
		switch {
		case unset && name != "PATH" && shell == "fish":
			lines = append(lines, "set -e "+name+";")
		case unset && name != "PATH" && shell == "powershell":
			lines = append(lines, "Remove-Item Env:"+name+" -ErrorAction SilentlyContinue")
		case unset && name != "PATH":
			lines = append(lines, "unset "+name)
		case shell == "fish" && name == "PATH":
			parts := strings.Split(value, string(os.PathListSeparator))
			for i := range parts {
				parts[i] = quoteFish(parts[i])
			}
			lines = append(lines, "set -gx PATH "+strings.Join(parts, " ")+";")
		case shell == "fish":
			lines = append(lines, "set -gx "+name+" "+quoteFish(value)+";")
		case shell == "powershell":
			lines = append(lines, "$Env:"+name+" = '"+strings.ReplaceAll(value, "'", "''")+"'")
		default:
			lines = append(lines, "export "+name+"="+quote(value))
		}
	}
	return lines
}

func without(path, dir string) string {
	parts := filepath.SplitList(path)
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == dir }), string(os.PathListSeparator))
}

// quote writes a word for a POSIX shell.
func quote(s string) string {
	if s != "" && strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-:,@%+=", r))
	}) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func quoteFish(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}
