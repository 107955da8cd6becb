package setting

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func tree(t testing.TB, text string) map[string]any {
	t.Helper()
	v := map[string]any{}
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSetChangesTheTree(t *testing.T) {
	for _, tt := range []struct{ in, expr, want string }{
		{`{}`, "a.b.c=v", `{"a":{"b":{"c":"v"}}}`},
		{`{}`, "identity.user_assigned_identities[0].resource_id=/subscriptions/s", `{"identity":{"user_assigned_identities":[{"resource_id":"/subscriptions/s"}]}}`},
		{`{"l":[{"r":"old"},{"r":"x"}]}`, "l[0].r=new", `{"l":[{"r":"new"},{"r":"x"}]}`},
		{`{"l":[1]}`, "l[1]=2", `{"l":[1,"2"]}`},
		{`{"l":[{"name":"a","v":1},{"name":"b"}]}`, "l[name=b].v=2", `{"l":[{"name":"a","v":1},{"name":"b","v":"2"}]}`},
		{`{"a":1}`, "a=null", `{"a":null}`},
		{`{"a":1}`, `a={"x":[1]}`, `{"a":{"x":[1]}}`},
		{`{}`, `a={not json`, `{"a":"{not json"}`},
		{`{}`, "a=", `{"a":""}`},
		{`{}`, "a=k=v=w", `{"a":"k=v=w"}`},
		{`{}`, "a=0123", `{"a":"0123"}`},
		{`{}`, "a='quoted text'", `{"a":"quoted text"}`},
		{`{}`, `properties."azureml.x"=1`, `{"properties":{"azureml.x":"1"}}`},
		{`{"a":null}`, "a.b=1", `{"a":{"b":"1"}}`},
	} {
		got := tree(t, tt.in)
		if err := Set(got, tt.expr); err != nil {
			t.Errorf("%s: %v", tt.expr, err)
			continue
		}
		if diff := cmp.Diff(tree(t, tt.want), got); diff != "" {
			t.Errorf("%s: %s", tt.expr, diff)
		}
	}
}

func TestSetNamesWhatIsWrong(t *testing.T) {
	for expr, want := range map[string]string{
		"a":        "write it as path=value",
		"=v":       "name is missing",
		"a.=v":     "name is missing",
		"a..b=v":   "name is empty",
		"a[0=v":    "write it as path=value",
		"a[x]=v":   "[x] is not an index",
		"a[-1]=v":  "[-1] is not an index",
		"l[5]=v":   "there are 1 elements, the next index is 1",
		"s.b=v":    `"b" has no place in a plain value`,
		"l.b=v":    `"b" has no place in a list`,
		"s[0]=v":   "a plain value has no element [0]",
		"l[n=q]=v": "no element has [n=q]",
		`"a=v`:     "write it as path=value",
	} {
		err := Set(tree(t, `{"s":"x","l":[{"n":"p"}]}`), expr)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", expr, err, want)
		}
	}
}

func TestAddAndRemove(t *testing.T) {
	got := tree(t, `{"l":[{"a":"1"}],"o":{"k":1}}`)
	for _, f := range []func() error{
		func() error { return Add(got, []string{"l", "b=2", "c=3"}) },
		func() error { return Add(got, []string{"new.list", "x"}) },
		func() error { return Remove(got, []string{"l", "0"}) },
		func() error { return Remove(got, []string{"o.k"}) },
	} {
		if err := f(); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(tree(t, `{"l":[{"b":"2","c":"3"}],"o":{},"new":{"list":["x"]}}`), got); diff != "" {
		t.Error(diff)
	}
	for _, words := range [][]string{{}, {"none"}, {"l", "9"}, {"o.none.deep"}, {"l.x"}} {
		if err := Remove(got, words); err == nil {
			t.Errorf("remove %v: no error", words)
		}
	}
}

func TestTrafficIsChecked(t *testing.T) {
	for _, tt := range []struct {
		words []string
		want  map[string]any
		fails string
	}{
		{[]string{"blue=90 green=10"}, map[string]any{"blue": 90.0, "green": 10.0}, ""},
		{[]string{"blue=90", "green=10"}, map[string]any{"blue": 90.0, "green": 10.0}, ""},
		{[]string{"blue=90%,green=0"}, map[string]any{"blue": 90.0, "green": 0.0}, ""},
		{[]string{""}, map[string]any{}, ""},
		{[]string{"blue"}, nil, "DEPLOYMENT=PERCENT"},
		{[]string{"blue=x"}, nil, "whole number"},
		{[]string{"blue=-1"}, nil, "whole number"},
		{[]string{"blue=1.5"}, nil, "whole number"},
		{[]string{"blue=60 blue=10"}, nil, "twice"},
		{[]string{"blue=60 green=60"}, nil, "120"},
	} {
		got, err := Traffic(tt.words)
		if (err == nil) != (tt.fails == "") || err != nil && !strings.Contains(err.Error(), tt.fails) {
			t.Errorf("%q: %v, want %q", tt.words, err, tt.fails)
		}
		if diff := cmp.Diff(tt.want, got); err == nil && diff != "" {
			t.Errorf("%q: %s", tt.words, diff)
		}
	}
}

func FuzzSet(f *testing.F) {
	for _, s := range []string{"a.b[0].c=v", `"x.y"[k=v].z={"a":[]}`, "=", "a[", "l[1000][1000]=x", "a=null"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, expr string) {
		got := tree(t, `{"l":[{"n":"p"}],"s":"x"}`)
		before := tree(t, `{"l":[{"n":"p"}],"s":"x"}`)
		if err := Set(got, expr); err != nil && !cmp.Equal(before, got) {
			t.Errorf("%q failed (%v) yet changed the tree: %v", expr, err, got)
		}
	})
}

func FuzzTraffic(f *testing.F) {
	f.Add("blue=90 green=10")
	f.Add("=,= %")
	f.Fuzz(func(t *testing.T, text string) {
		shares, err := Traffic([]string{text})
		sum := 0.0
		for _, share := range shares {
			sum += share.(float64)
		}
		if err == nil && (sum < 0 || sum > 100) {
			t.Errorf("%q: sum %v", text, sum)
		}
	})
}
