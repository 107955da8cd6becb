package az

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"lapis/jsonc"
)

// armTemplate is a template file: what is sent, and the types of its parameters.
type armTemplate struct {
	content json.RawMessage
	types   map[string]string // in lower case, by name
}

// readTemplate reads a template of JSON, with comments or without.
func readTemplate(file string) (armTemplate, error) {
	if err := refuseBicep(file); err != nil {
		return armTemplate{}, err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return armTemplate{}, fmt.Errorf("argument --template-file/-f: %w", err)
	}
	t, err := parseTemplate(data)
	if err != nil {
		return t, fmt.Errorf("argument --template-file/-f: %s: %w", file, err)
	}
	return t, nil
}

func refuseBicep(file string) error {
	switch ext := strings.ToLower(filepath.Ext(file)); ext {
	case ".bicep":
		made := strings.TrimSuffix(file, filepath.Ext(file)) + ".json"
		return hinted(fmt.Errorf("%s is a Bicep file; templates are taken as JSON", file), "bicep build %s --outfile %s\nand give %s instead", file, made, made)
	case ".bicepparam":
		made := strings.TrimSuffix(file, filepath.Ext(file)) + ".parameters.json"
		return hinted(fmt.Errorf("%s is a Bicep file; parameters are taken as JSON", file), "bicep build-params %s --outfile %s\nand give %s instead", file, made, made)
	}
	return nil
}

func parseTemplate(data []byte) (armTemplate, error) {
	content, err := jsonc.Plain(data)
	if err != nil {
		return armTemplate{}, err
	}
	var shape struct {
		Parameters map[string]struct {
			Type string `json:"type"`
		} `json:"parameters"`
	}
	if err := json.Unmarshal(content, &shape); err != nil || !isObject(content) {
		return armTemplate{}, errors.New("a template is an object, whose 'parameters' are an object of names and {\"type\": ...}")
	}
	t := armTemplate{content, map[string]string{}}
	for name, p := range shape.Parameters {
		t.types[name] = strings.ToLower(p.Type)
	}
	return t, nil
}

func isObject(data json.RawMessage) bool {
	return strings.HasPrefix(strings.TrimLeft(string(data), " \t\r\n"), "{")
}

// spelled returns the name as the template writes it; case does not count.
func (t armTemplate) spelled(name string) (string, bool) {
	if _, ok := t.types[name]; ok {
		return name, true
	}
	for _, known := range slices.Sorted(maps.Keys(t.types)) {
		if strings.EqualFold(known, name) {
			return known, true
		}
	}
	return name, false
}

// parameters makes a deployment's parameters of the words behind --parameters:
// key=value (or key=@file, for the file's content), a file or @file, or JSON
// itself. What comes later goes before. No value is told in an error.
func (t armTemplate) parameters(words []string, read func(string) ([]byte, error)) (map[string]json.RawMessage, error) {
	given := map[string]json.RawMessage{}
	for _, word := range words {
		found, err := t.parametersOf(word, read)
		if err != nil {
			return nil, err
		}
		for _, name := range slices.Sorted(maps.Keys(found)) {
			known, _ := t.spelled(name) // one that is unknown is for the service to refuse
			given[known] = found[name]
		}
	}
	return given, nil
}

func (t armTemplate) parametersOf(word string, read func(string) ([]byte, error)) (map[string]json.RawMessage, error) {
	if file, ok := strings.CutPrefix(word, "@"); ok {
		return parametersIn(file, read)
	}
	if strings.HasPrefix(strings.TrimSpace(word), "{") {
		found, err := parameterObject([]byte(word))
		if err != nil {
			return nil, usage("argument --parameters/-p: %v", err)
		}
		return found, nil
	}
	if word == "" {
		return nil, usage("argument --parameters/-p: expected key=value, or a file")
	}
	found, err := parametersIn(word, read)
	name, value, isPair := strings.Cut(word, "=")
	if !isPair || err == nil {
		return found, err
	}
	known, ok := t.spelled(name)
	if !ok {
		return nil, usage("argument --parameters/-p: the template has no parameter '%s'; it has: %s", name, strings.Join(slices.Sorted(maps.Keys(t.types)), ", "))
	}
	if file, ok := strings.CutPrefix(value, "@"); ok {
		data, err := read(file)
		if err != nil {
			return nil, fmt.Errorf("argument --parameters/-p: %s: %w", name, err)
		}
		value = strings.TrimRight(string(data), "\r\n")
	}
	typed, err := parameterValue(t.types[known], value)
	if err != nil {
		return nil, usage("argument --parameters/-p: %s: %v", name, err)
	}
	entry, err := json.Marshal(map[string]json.RawMessage{"value": typed})
	return map[string]json.RawMessage{known: entry}, err
}

// parameterValue reads a word as the type that the template declares.
func parameterValue(kind, word string) (json.RawMessage, error) {
	switch kind {
	case "int":
		n, err := strconv.ParseInt(strings.TrimSpace(word), 10, 64)
		if err != nil {
			return nil, errors.New("a whole number is needed")
		}
		return json.Marshal(n)
	case "bool":
		word = strings.ToLower(strings.TrimSpace(word))
		if word != "true" && word != "false" {
			return nil, errors.New("true or false is needed")
		}
		return json.RawMessage(word), nil
	case "object", "secureobject", "array":
		value, err := jsonc.Plain([]byte(word))
		if err != nil {
			return nil, fmt.Errorf("JSON of the type %s is needed", kind)
		}
		return value, nil
	}
	return json.Marshal(word)
}

// parametersIn reads a file of parameters.
func parametersIn(file string, read func(string) ([]byte, error)) (map[string]json.RawMessage, error) {
	if err := refuseBicep(file); err != nil {
		return nil, err
	}
	data, err := read(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usage("argument --parameters/-p: %q is neither key=value nor a file that is there", file)
	}
	if err != nil {
		return nil, fmt.Errorf("argument --parameters/-p: %w", err)
	}
	found, err := parameterObject(data)
	if err != nil {
		return nil, fmt.Errorf("argument --parameters/-p: %s: %w", file, err)
	}
	return found, nil
}

// parameterObject reads parameters, in the envelope of parameter files or bare.
func parameterObject(data []byte) (map[string]json.RawMessage, error) {
	content, err := jsonc.Plain(data)
	if err != nil {
		return nil, err
	}
	var bare map[string]json.RawMessage
	if err := json.Unmarshal(content, &bare); err != nil || bare == nil {
		return nil, errors.New("parameters are an object of names and {\"value\": ...}")
	}
	inner, ok := bare["parameters"]
	if !ok {
		return bare, nil
	}
	var enveloped map[string]json.RawMessage
	if err := json.Unmarshal(inner, &enveloped); err != nil {
		return nil, errors.New("'parameters' is an object of names and {\"value\": ...}")
	}
	return enveloped, nil
}
