package az

import (
	"fmt"
	"os"

	"github.com/goccy/go-yaml"

	"lapis/cli/output"
)

// condaText reads a conda file, or takes one that a definition holds itself,
// and writes it as azure-ai-ml sends it: YAML with sorted keys.
func condaText(path string, inline any) (string, error) {
	if inline != nil {
		return output.YAML(inline), nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var tree any
	if err := yaml.Unmarshal(data, &tree); err != nil {
		return "", fmt.Errorf("%s: %v", path, err)
	}
	if _, ok := tree.(map[string]any); !ok {
		return "", fmt.Errorf("%s: a conda file has fields such as dependencies, this one has none", path)
	}
	tree, err = output.Tree(tree)
	return output.YAML(tree), err
}

// showConda parses the text that the service keeps.
func showConda(v any) any {
	s, ok := v.(string)
	if !ok || s == "" {
		return nil
	}
	var tree any
	if yaml.Unmarshal([]byte(s), &tree) != nil {
		return s
	}
	return tree
}
