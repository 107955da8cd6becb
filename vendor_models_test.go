package lapis_test

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// vendorModels are the typed models of one package, as the readers in
// testdata/vendor write them. A type is str, int, float, bool, any, time, date,
// duration, bytes, @class, =enum, or [] or {} before another one.
type vendorModels struct {
	Classes map[string]vendorClass `json:"classes"`
	Enums   map[string][]any       `json:"enums"` // texts, of a few packages numbers
}

type vendorClass struct {
	Fields map[string]vendorField `json:"fields"` // by their names on the wire; "" stands for any other
	By     string                 `json:"by"`     // the field that tells which of Kinds a body is
	Kinds  map[string]string      `json:"kinds"`
}

type vendorField struct {
	Type     string `json:"type"`
	Required bool   `json:"required"`
	Hidden   bool   `json:"hidden"` // of requests alone
}

// misfit is a place of a body that a model does not have, or not so.
type misfit struct {
	path    string // with [] for every index and {} for every key of a map
	text    string
	unknown bool // the model has no such field
}

func (m misfit) String() string { return m.path + " " + m.text }

// holder holds one body against models.
type holder struct {
	models  *vendorModels
	misfits []misfit
	fields  int // that were looked at
}

// hold returns what does not fit of a body, and how many fields it has.
func (m *vendorModels) hold(class string, body any) ([]misfit, int) {
	h := &holder{models: m}
	h.class(class, body, "")
	return h.misfits, h.fields
}

func (h *holder) add(path, format string, args ...any) {
	h.misfits = append(h.misfits, misfit{path: path, text: fmt.Sprintf(format, args...)})
}

func (h *holder) value(kind string, v any, path string) {
	if v == nil {
		return
	}
	inner := ""
	if len(kind) > 2 {
		inner = kind[2:]
	}
	switch {
	case strings.HasPrefix(kind, "[]"):
		list, ok := v.([]any)
		if !ok {
			h.add(path, "is no list: %v", v)
		}
		for _, item := range list {
			h.value(inner, item, path+"[]")
		}
	case strings.HasPrefix(kind, "{}"):
		object, ok := v.(map[string]any)
		if !ok {
			h.add(path, "is no map: %v", v)
		}
		for _, item := range object {
			h.value(inner, item, path+"{}")
		}
	case kind[0] == '@':
		h.class(kind[1:], v, path)
	case kind[0] == '=':
		h.enum(kind[1:], v, path)
	default:
		h.plain(kind, v, path)
	}
}

func (h *holder) enum(name string, v any, path string) {
	h.fields++
	values := h.models.Enums[name]
	switch v.(type) {
	case string, float64:
		if !slices.Contains(values, v) {
			h.add(path, "is '%v', which %s has not: %v", v, name, values)
		}
	default:
		h.add(path, "is no str: %v", v)
	}
}

// plain checks a value without parts.
func (h *holder) plain(kind string, v any, path string) {
	h.fields++
	forms := map[string]string{
		"time":     `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`,
		"date":     `\d{4}-\d\d-\d\d`,
		"duration": `P(\d+D)?(T(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?`,
		"bytes":    `[A-Za-z0-9+/_-]*=*`,
		"str":      `(?s).*`,
	}
	fits := false
	switch kind {
	case "any":
		fits = true
	case "bool":
		_, fits = v.(bool)
	case "float":
		_, fits = v.(float64)
	case "int":
		n, ok := v.(float64)
		fits = ok && n == math.Trunc(n)
	default:
		form, ok := forms[kind]
		if !ok {
			h.add(path, "is of a type that the check does not know: %s", kind)
			return
		}
		text, ok := v.(string)
		fits = ok && regexp.MustCompile(`^`+form+`$`).MatchString(text)
	}
	if !fits {
		h.add(path, "is no %s: %v", kind, v)
	}
}

func (h *holder) class(name string, v any, path string) {
	object, ok := v.(map[string]any)
	if !ok {
		h.add(path, "is no %s: %v", name, v)
		return
	}
	class, ok := h.models.Classes[name]
	if !ok {
		h.add(path, "is of a class that the package has not: %s", name)
		return
	}
	if len(class.Kinds) > 0 {
		value, _ := object[class.By].(string)
		kind, ok := class.Kinds[value]
		if !ok {
			h.add(path+"."+class.By, "is '%v', which no %s is: %s", object[class.By], name, strings.Join(slices.Sorted(maps.Keys(class.Kinds)), ", "))
			return
		}
		class = h.models.Classes[kind]
	}
	for _, wire := range slices.Sorted(maps.Keys(class.Fields)) {
		if class.Fields[wire].Required && object[wire] == nil {
			h.add(path+"."+wire, "is missing")
		}
	}
	_, open := class.Fields[""]
	for _, key := range slices.Sorted(maps.Keys(object)) {
		field, ok := class.Fields[key]
		at := path + "." + key
		switch {
		case !ok && !open:
			h.misfits = append(h.misfits, misfit{path: at, text: fmt.Sprintf("is not known to %s: %.80v", name, object[key]), unknown: true})
		case field.Hidden && object[key] != nil:
			h.add(at, "is of requests alone: %v", object[key])
		case ok:
			h.value(field.Type, object[key], at)
		}
	}
}

// The check must see what it is there for.
func TestVendorCheckSeesWhatIsWrong(t *testing.T) {
	models := &vendorModels{
		Enums: map[string][]any{"Mode": {"Key", "AMLToken"}},
		Classes: map[string]vendorClass{
			"Endpoint": {Fields: map[string]vendorField{
				"location": {Type: "str", Required: true}, "properties": {Type: "@Properties", Required: true}, "at": {Type: "time"}, "size": {Type: "int"}, "on": {Type: "bool"},
			}},
			"Properties": {Fields: map[string]vendorField{
				"mode": {Type: "=Mode"}, "traffic": {Type: "{}int"}, "names": {Type: "[]str"}, "keys": {Type: "str", Hidden: true},
				"scale": {Type: "@Scale"}, "wait": {Type: "duration"}, "odd": {Type: "?Odd"}, "lost": {Type: "@Lost"},
			}},
			"Scale":   {Fields: map[string]vendorField{"kind": {Type: "str", Required: true}}, By: "kind", Kinds: map[string]string{"Default": "Default"}},
			"Default": {Fields: map[string]vendorField{"kind": {Type: "str", Required: true}, "": {Type: "any"}}},
		},
	}
	good := func() object {
		return object{"location": "local", "at": "2026-01-02T03:04:05.6Z", "size": 7.0, "on": false, "properties": object{
			"mode": "Key", "traffic": object{"blue": 100.0}, "names": []any{"a"}, "scale": object{"kind": "Default", "more": 1.0}, "wait": "PT1M5S", "keys": nil,
		}}
	}
	if found, fields := models.hold("Endpoint", good()); len(found) > 0 || fields != 9 {
		t.Errorf("it sees what is not, or not all fields: %v %d", found, fields)
	}
	for _, c := range []struct {
		path  string
		value any
		want  string
	}{
		{"mystery", 1.0, ".mystery is not known to Endpoint"},
		{"properties.mystery", nil, ".properties.mystery is not known to Properties"},
		{"location", 7.0, ".location is no str: 7"},
		{"location", nil, ".location is missing"},
		{"properties", nil, ".properties is missing"},
		{"properties", "x", ".properties is no Properties"},
		{"properties.mode", "key", ".properties.mode is 'key', which Mode has not: [Key AMLToken]"},
		{"properties.mode", 1.0, ".properties.mode is '1'"},
		{"properties.mode", true, ".properties.mode is no str"},
		{"properties.traffic", object{"blue": "100"}, ".properties.traffic{} is no int: 100"},
		{"properties.traffic", object{"blue": 1.5}, ".properties.traffic{} is no int: 1.5"},
		{"properties.traffic", []any{}, ".properties.traffic is no map"},
		{"properties.names", []any{"a", 2.0}, ".properties.names[] is no str: 2"},
		{"properties.names", "a", ".properties.names is no list"},
		{"properties.keys", "secret", ".properties.keys is of requests alone"},
		{"properties.scale", object{"kind": "default"}, ".properties.scale.kind is 'default', which no Scale is: Default"},
		{"properties.scale", object{}, ".properties.scale.kind is '<nil>'"},
		{"properties.wait", "65s", ".properties.wait is no duration"},
		{"properties.odd", "x", ".properties.odd is of a type that the check does not know"},
		{"properties.lost", object{}, ".properties.lost is of a class that the package has not"},
		{"at", "2026-01-02 03:04:05", ".at is no time"},
		{"at", "2026-01-02T03:04:05", ".at is no time"},
		{"size", true, ".size is no int"},
		{"on", "false", ".on is no bool"},
	} {
		body, at := good(), c.path
		into := body
		if name, below := strings.CutPrefix(at, "properties."); below {
			into, at = body["properties"].(object), name
		}
		into[at] = c.value
		found, _ := models.hold("Endpoint", body)
		if len(found) != 1 || !strings.HasPrefix(found[0].String(), c.want) {
			t.Errorf("%s = %v: %v, want %s", c.path, c.value, found, c.want)
		}
	}
}

// A body with a field too many, a wrong type, a missing field and an enum in
// another case is seen through each form in which packages ship their models.
func TestVendorReadersTakeWhatTheModelsSay(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: no packages")
	}
	endpoint := object{"location": 7.0, "mystery": 1.0, "systemData": object{"createdAt": "now"}, "properties": object{"authMode": "key", "traffic": object{"blue": "100"}}}
	deployment := object{"location": "local", "properties": object{"endpointComputeType": "managed"}}
	probing := object{"location": "local", "properties": object{"endpointComputeType": "Managed", "livenessProbe": object{"period": "1s"}, "mystery": 1.0, "scaleSettings": object{"scaleType": "default"}}}
	registry := object{"sku": object{"name": "basic"}, "mystery": 1.0, "properties": object{"creationDate": "now", "mystery": 1.0, "adminUserEnabled": "no"}}
	inEndpoint := []string{".location is no str: 7", ".mystery is not known", ".properties.authMode is 'key'", ".properties.traffic{} is no", ".systemData.createdAt is no time"}
	inProbing := []string{".properties.livenessProbe.period is no duration: 1s", ".properties.mystery is not known", ".properties.scaleSettings.scaleType is 'default'"}
	for _, c := range []struct {
		name, folder, class string
		body                object
		want                []string
	}{
		{"azure-ai-ml==1.28.0", "azure/ai/ml/_restclient/v2023_04_01_preview/models", "OnlineEndpoint", endpoint, inEndpoint},
		{"azure-ai-ml==1.28.0", "azure/ai/ml/_restclient/v2023_04_01_preview/models", "OnlineDeployment", deployment, []string{".properties.endpointComputeType is 'managed'"}},
		{"azure-ai-ml==1.28.0", "azure/ai/ml/_restclient/v2023_04_01_preview/models", "OnlineDeployment", probing, inProbing},
		{"azure-ai-ml==1.35.2", "azure/ai/ml/_restclient/arm_ml_service/models", "OnlineEndpoint", endpoint, inEndpoint},
		{"azure-ai-ml==1.35.2", "azure/ai/ml/_restclient/arm_ml_service/models", "OnlineDeployment", deployment, []string{".properties.endpointComputeType is 'managed'"}},
		{"azure-ai-ml==1.35.2", "azure/ai/ml/_restclient/arm_ml_service/models", "OnlineDeployment", probing, inProbing},
		{"azure-ai-ml==1.35.2", "azure/ai/ml/_restclient/arm_ml_service/models", "OnlineEndpoint",
			object{"location": "l", "properties": object{"authMode": "Key", "keys": object{"primaryKey": "x"}}}, []string{".properties.keys is of requests alone"}},
		{"@azure/arm-machinelearning@2.1.1", "dist-esm/src/models", "OnlineEndpoint", endpoint, inEndpoint},
		{"@azure/arm-machinelearning@2.1.1", "dist-esm/src/models", "OnlineDeployment", deployment, []string{".properties.endpointComputeType is 'managed'"}},
		{"@azure/arm-machinelearning@2.1.1", "dist-esm/src/models", "OnlineDeployment", probing, inProbing},
		{"@azure/arm-containerregistry@12.0.0", "dist/esm/models", "Registry", registry,
			[]string{".location is missing", ".mystery is not known", ".properties.adminUserEnabled is no bool", ".properties.creationDate is no time", ".properties.mystery is not known", ".sku.name is 'basic'"}},
		{"@azure/arm-storage@21.0.0", "dist/esm/models", "BlobContainer", object{"mystery": 1.0, "properties": object{"publicAccess": "none", "mystery": 1.0, "metadata": object{"a": 1.0}}},
			[]string{".mystery is not known", ".properties.metadata{} is no str", ".properties.mystery is not known", ".properties.publicAccess is 'none'"}},
	} {
		found, _ := readVendorModels(t, c.name, c.folder).hold(c.class, c.body)
		ok := len(found) == len(c.want)
		for i := range min(len(found), len(c.want)) {
			ok = ok && strings.HasPrefix(found[i].String(), c.want[i])
		}
		if !ok {
			t.Errorf("%s %s: %q, want %q", c.name, c.class, found, c.want)
		}
	}
}
