package az

import (
	"context"
	"runtime"
	"slices"
	"sort"
	"strings"
)

// knownDefaults are the arguments that have a configured default.
func knownDefaults() []string {
	return []string{"group", "workspace", "location", "subscription", "acr", "web", "vm", "vmss"}
}

func configureCommand() command {
	return command{name: "configure", help: "Manage Azure CLI configuration.", run: configure,
		example: "az configure --defaults workspace=WORKSPACE group=GROUP",
		args: []arg{
			{names: "--defaults -d", help: "Defaults of common arguments as name=value, parted by spaces; an empty value takes one back.", kind: many},
			{names: "--list-defaults -l", help: "List the defaults.", kind: truth},
			{names: "--scope", hidden: true},
		}}
}

func configure(_ context.Context, c *Call) (any, error) {
	s, err := c.settings()
	if err != nil {
		return nil, err
	}
	if c.on("list-defaults") {
		return listSection(s.Config.All()["defaults"], s.ConfigDir), nil
	}
	pairs := c.list("defaults")
	if len(pairs) == 0 {
		return nil, usage("the following arguments are required: --defaults/-d or --list-defaults/-l")
	}
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, usage("argument --defaults/-d: %q is not of the form name=value", pair)
		}
		if err := c.setDefault(name, value); err != nil {
			return nil, err
		}
	}
	return nil, s.Config.Save()
}

func (c *Call) setDefault(name, value string) error {
	s, err := c.settings()
	if err != nil {
		return err
	}
	if value == "" {
		s.Config.Unset("defaults", name)
		return nil
	}
	if name == "gitworkspace" {
		c.note("no argument has the default 'gitworkspace'; it is taken as 'workspace' too")
		if err := s.Config.Set("defaults", "workspace", value); err != nil {
			return err
		}
	} else if !slices.Contains(knownDefaults(), name) {
		c.note("no argument has the default %q; it is kept, and nothing reads it", name)
	}
	if env := "AZURE_DEFAULTS_" + strings.ToUpper(name); c.Getenv(env) != "" && c.Getenv(env) != value {
		c.note("the variable %s=%s of this shell goes before what is configured", env, c.Getenv(env))
	}
	return s.Config.Set("defaults", name, value)
}

func listSection(section map[string]string, source string) []any {
	names := make([]string, 0, len(section))
	for name := range section {
		names = append(names, name)
	}
	sort.Strings(names)
	list := []any{}
	for _, name := range names {
		list = append(list, object{"name": name, "source": source + "/config", "value": section[name]})
	}
	return list
}

func configBranch() branch {
	words := arg{names: "--key", help: "Keys as section.name, or section.name=value.", kind: many, place: true, hidden: true}
	return branch{name: "config", help: "Manage Azure CLI configuration.", commands: []command{
		{name: "get", help: "Get a configuration.", run: configGet, args: []arg{words, {names: "--local", kind: flag, hidden: true}}, example: "az config get defaults.group"},
		{name: "set", help: "Set a configuration.", run: configSet, args: []arg{words, {names: "--local", kind: flag, hidden: true}}, example: "az config set defaults.group=rg1"},
		{name: "unset", help: "Unset a configuration.", run: configUnset, args: []arg{words, {names: "--local", kind: flag, hidden: true}}, example: "az config unset defaults.group"},
	}}
}

func configGet(_ context.Context, c *Call) (any, error) {
	s, err := c.settings()
	if err != nil {
		return nil, err
	}
	all := s.Config.All()
	if len(c.list("key")) == 0 {
		out := object{}
		for section, values := range all {
			out[section] = listSection(values, s.ConfigDir)
		}
		return out, nil
	}
	section, name, ok := strings.Cut(c.list("key")[0], ".")
	if !ok {
		return listSection(all[section], s.ConfigDir), nil
	}
	value, found := s.Config.Get(section, name)
	if !found {
		return nil, hinted(usage("configuration %q is not set", section+"."+name), "az config get shows all that is")
	}
	return object{"name": name, "source": s.ConfigDir + "/config", "value": value}, nil
}

func configSet(_ context.Context, c *Call) (any, error) {
	s, err := c.settings()
	if err != nil {
		return nil, err
	}
	for _, pair := range c.list("key") {
		key, value, ok := strings.Cut(pair, "=")
		section, name, dotted := strings.Cut(key, ".")
		if !ok || !dotted {
			return nil, usage("%q is not of the form section.name=value", pair)
		}
		if section == "defaults" {
			err = c.setDefault(name, value)
		} else {
			err = s.Config.Set(section, name, value)
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, s.Config.Save()
}

func configUnset(_ context.Context, c *Call) (any, error) {
	s, err := c.settings()
	if err != nil {
		return nil, err
	}
	for _, key := range c.list("key") {
		section, name, _ := strings.Cut(key, ".")
		s.Config.Unset(section, name)
	}
	return nil, s.Config.Save()
}

func versionCommand() command {
	return command{name: "version", help: "Show the version.", run: func(_ context.Context, c *Call) (any, error) {
		return object{"lapis": c.Version, "go": runtime.Version(), "azure-cli": "lapis speaks az's grammar; it is not Microsoft's CLI", "extensions": object{"ml": "built in"}}, nil
	}}
}
