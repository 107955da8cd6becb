package endpoint

import (
	"strings"
	"testing"

	"lapis/armid"
	"lapis/resource"
)

func TestSizesAreAzures(t *testing.T) {
	for name, want := range map[string]machine{
		"Standard_DS1_v2": {1, 3.5}, "Standard_DS3_v2": {4, 14}, "STANDARD_DS3_V2": {4, 14}, "Standard_D4_v2": {8, 28}, "Standard_DS5_v2": {16, 56},
		"Standard_DS12_v2": {4, 28}, "Standard_D2_v3": {2, 8}, "Standard_D4s_v3": {4, 16}, "Standard_D8as_v4": {8, 32}, "Standard_D64ads_v5": {64, 256},
		"Standard_D2lds_v5": {2, 4}, "Standard_E2s_v3": {2, 16}, "Standard_E4ds_v4": {4, 32}, "Standard_E64s_v3": {64, 432}, "Standard_E64as_v5": {64, 512},
		"Standard_F2s_v2": {2, 4}, "Standard_F72s_v2": {72, 144}, "Standard_F4s": {4, 8}, "Standard_F4": {4, 8}, "Standard_B1s": {1, 1}, "Standard_B2ms": {2, 8},
		"Standard_B20ms": {20, 80}, "Standard_NC6s_v3": {6, 112}, "Standard_NC4as_T4_v3": {4, 28},
	} {
		if got, ok := machineOf(name); !ok || got != want {
			t.Errorf("%s is %v, %v", name, got, ok)
		}
	}
	for _, name := range []string{"", "defaultinstancetype", "Standard_X4", "Standard_D0_v3", "Standard_D999s_v5", "Standard_D4s_v2x", "Standard_B2x", "Standard_DS3"} {
		if got, ok := machineOf(name); ok {
			t.Errorf("%s is %v", name, got)
		}
	}
}

func TestLimitsSayWhatTheMachineLacks(t *testing.T) {
	p := deployment{InstanceType: "Standard_E104s_v5"}
	limits, say := p.limits(8 << 30)
	if limits.CPU != 104 || limits.Memory != 832<<30 || !strings.Contains(say, "gets less than on Azure") {
		t.Errorf("%+v %s", limits, say)
	}
	p.InstanceType = "Standard_B1s"
	if limits, say = p.limits(8 << 30); limits.CPU != 1 || limits.Memory != 1<<30 || limits.Processes == 0 || say != "" {
		t.Errorf("%+v %s", limits, say)
	}
	p.InstanceType = "mine"
	if limits, say = p.limits(8 << 30); limits.CPU != 0 || limits.Memory != 0 || limits.Processes == 0 || !strings.Contains(say, "not known") {
		t.Errorf("%+v %s", limits, say)
	}
}

func TestIsolationIsCheckedAndChosen(t *testing.T) {
	for value, want := range map[string]bool{"": true, "fresh": true, "shared": true, "Fresh": false, "none": false} {
		p := deployment{Properties: map[string]string{isolationProperty: value}}
		if err := p.checkIsolation(); (err == nil) != want {
			t.Errorf("%q: %v", value, err)
		}
	}
	const workspace = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/W"
	endpoint, err := armid.Parse(workspace + "/onlineEndpoints/e")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		own    string
		always bool
		want   string
	}{
		{"", false, strings.ToLower(workspace)}, {"", true, ""}, {"fresh", false, ""}, {"shared", true, strings.ToLower(workspace)},
	} {
		p := &plan{endpoint: resource.Resource{ID: endpoint}, spec: deployment{Properties: map[string]string{isolationProperty: c.own}}}
		if got := (&Service{Config: Config{FreshProcesses: c.always}}).trust(p); got != c.want {
			t.Errorf("%+v gave %q", c, got)
		}
	}
}
