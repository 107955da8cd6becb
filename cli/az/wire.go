package az

import (
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"lapis/armid"
)

// object is a JSON object, of the wire or of a result.
type object = map[string]any

// at returns what stands at a path of names parted by dots, or nil.
func at(o object, path string) any {
	var v any = o
	for _, name := range strings.Split(path, ".") {
		inner, ok := v.(object)
		if !ok {
			return nil
		}
		v = inner[name]
	}
	return v
}

func text(o object, path string) string {
	s, _ := at(o, path).(string)
	return s
}

func child(o object, path string) object {
	inner, _ := at(o, path).(object)
	return inner
}

// flatten shows a resource as az does: its properties beside its envelope, and
// the resource group of its id.
func flatten(resource object) object {
	out := object{}
	for name, value := range resource {
		if name != "properties" {
			out[name] = value
		}
	}
	for name, value := range child(resource, "properties") {
		if _, taken := out[name]; !taken {
			out[name] = value
		}
	}
	return withGroup(out)
}

// withGroup adds the resource group that the id names.
func withGroup(o object) object {
	if id, err := armid.Parse(text(o, "id")); err == nil && id.ResourceGroupName() != "" {
		o["resourceGroup"] = id.ResourceGroupName()
	}
	return o
}

// each applies f to the objects of a list.
func each(list []any, f func(object) object) []any {
	out := make([]any, 0, len(list))
	for _, item := range list {
		if o, ok := item.(object); ok {
			out = append(out, f(o))
		}
	}
	return out
}

func isGUID(s string) bool {
	_, err := uuid.Parse(s)
	return err == nil && len(s) == 36
}

func subscriptionPath(sub string) string { return "/subscriptions/" + url.PathEscape(sub) }

func groupPath(sub, group string) string {
	return subscriptionPath(sub) + "/resourceGroups/" + url.PathEscape(group)
}

func providerPath(sub, group, typ, name string) string {
	return groupPath(sub, group) + "/providers/" + typ + "/" + url.PathEscape(name)
}

// localTime writes a time as az writes those of tokens.
func localTime(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05.000000") }

func escape(name string) string { return url.PathEscape(name) }
