package endpoint

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"lapis/fault"
	"lapis/resource"
)

// Limits of a deployment, as of the managed service.
const (
	maxInstances      = 50
	maxRequestTimeout = 180 * time.Second
	maxConcurrency    = 1000
	maxVariable       = 128<<10 - 2 // a name with its value: Linux starts no process with a longer one
	maxVariables      = 1 << 20     // all of them
)

var validInstanceType = regexp.MustCompile(`^[\w.-]{1,128}$`)

// deployment is the shape of a deployment's properties (api-version 2023-04-01-preview).
type deployment struct {
	ComputeType       string            `json:"endpointComputeType"`
	Code              *codeConfig       `json:"codeConfiguration,omitempty"`
	EnvironmentID     string            `json:"environmentId,omitempty"`
	Variables         map[string]string `json:"environmentVariables"`
	Model             string            `json:"model,omitempty"`
	ModelMountPath    string            `json:"modelMountPath,omitempty"`
	InstanceType      string            `json:"instanceType"`
	Insights          bool              `json:"appInsightsEnabled"`
	Request           *requestSettings  `json:"requestSettings"`
	Liveness          *probe            `json:"livenessProbe"`
	Readiness         *probe            `json:"readinessProbe"`
	Scale             *scale            `json:"scaleSettings"`
	Egress            string            `json:"egressPublicNetworkAccess,omitempty"`
	Properties        map[string]string `json:"properties"`
	DataCollector     json.RawMessage   `json:"dataCollector,omitempty"`
	Description       string            `json:"description,omitempty"`
	PrivateConnection bool              `json:"privateNetworkConnection,omitempty"`
}

type codeConfig struct {
	CodeID string `json:"codeId"`
	Script string `json:"scoringScript"`
}

// requestSettings are in ISO 8601 durations.
type requestSettings struct {
	Concurrency int    `json:"maxConcurrentRequestsPerInstance"`
	QueueWait   string `json:"maxQueueWait"`
	Timeout     string `json:"requestTimeout"`
}

type probe struct {
	InitialDelay string `json:"initialDelay"`
	Period       string `json:"period"`
	Timeout      string `json:"timeout"`
	Success      int    `json:"successThreshold"`
	Failure      int    `json:"failureThreshold"`
}

// scale is how many instances there are: sku.capacity, or a range of them.
type scale struct {
	Type   string `json:"scaleType"`
	Min    *int   `json:"minInstances,omitempty"`
	Max    *int   `json:"maxInstances,omitempty"`
	Poll   string `json:"pollingInterval,omitempty"`
	Target *int   `json:"targetUtilizationPercentage,omitempty"`
}

type sku struct {
	Name     string `json:"name"`
	Capacity int    `json:"capacity"`
}

func (s *Service) deploymentType() resource.Type {
	return resource.Type{
		Name: DeploymentType, APIVersions: versions, Located: true, CheckName: checkName,
		Prepare: s.prepareDeployment, Show: s.showDeployment, Remove: s.checkRemove,
		PutOperation: putDeployment, DeleteOperation: deleteDeployment,
		Actions: []resource.Action{
			{Name: "getLogs", Run: s.getLogs},
			{Name: "followLogs", Permission: DeploymentType + "/getLogs/action", Run: s.followLogs}, // not Azure's
			// Not Azure's. It shows a little of what the script answered, as its log may: who may read one may read the other.
			{Name: "mirrorReport", Permission: DeploymentType + "/getLogs/action", Run: s.mirrorReport},
		},
	}
}

func (s *Service) prepareDeployment(ctx context.Context, d *resource.Draft) error {
	parent, err := s.Tree.Get(ctx, d.Next.ID.Parent())
	if err != nil {
		return err
	}
	if !parent.State.Done() {
		return fault.E(fault.Conflict, "EndpointNotReady",
			"Cannot create a deployment in endpoint %s because it is in %s provisioning state.", parent.ID.Name(), parent.State)
	}
	var p deployment
	if err := d.Next.Decode(&p); err != nil {
		return fault.E(fault.Invalid, "InvalidRequestContent", "The properties are not of a deployment's shape: %s.", err.Error()).At("properties")
	}
	if err := s.checkNoCode(ctx, d, &p); err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return err
	}
	if err := s.checkAssets(ctx, d, &p); err != nil {
		return err
	}
	if err := checkCapacity(d.Next); err != nil {
		return err
	}
	d.Next.Identity = nil
	return d.Next.SetProperties(p)
}

// check holds the properties against the rules and fills in what Azure would.
func (p *deployment) check() error {
	switch {
	case p.ComputeType == "": // Managed
	case strings.EqualFold(p.ComputeType, "Kubernetes"):
		return fault.E(fault.NotImplemented, "ComputeNotSupported", "Deployments on Kubernetes are not supported yet; endpointComputeType can be Managed.").At("properties.endpointComputeType")
	case !strings.EqualFold(p.ComputeType, "Managed"):
		return fault.E(fault.Invalid, "BadArgument", "The endpointComputeType '%s' is none of Managed, Kubernetes.", p.ComputeType).At("properties.endpointComputeType")
	}
	p.ComputeType = "Managed" // clients tell shapes apart by it, in this case
	if p.Code == nil || p.Code.CodeID == "" || p.Code.Script == "" {
		return fault.E(fault.Invalid, "MissingDriverProgram",
			"The deployment names no scoring script. Give codeConfiguration with codeId and scoringScript; deployments without code are not supported yet.").At("properties.codeConfiguration")
	}
	if clean := path.Clean(p.Code.Script); path.IsAbs(clean) || strings.HasPrefix(clean, "..") || !strings.HasSuffix(clean, ".py") || strings.ContainsFunc(clean, unicode.IsControl) {
		return fault.E(fault.Invalid, "BadArgument", "The scoring script '%s' must be a .py file inside the code folder.", p.Code.Script).At("properties.codeConfiguration.scoringScript")
	}
	if p.EnvironmentID == "" {
		return fault.E(fault.Invalid, "BadArgument", "The deployment names no environment.").At("properties.environmentId")
	}
	if p.InstanceType == "" {
		return fault.E(fault.Invalid, "BadArgument", "The deployment names no instanceType, such as Standard_DS3_v2.").At("properties.instanceType")
	}
	if !validInstanceType.MatchString(p.InstanceType) {
		return fault.E(fault.Invalid, "BadArgument", "'%.128s' is no instanceType, such as Standard_DS3_v2.", p.InstanceType).At("properties.instanceType")
	}
	if p.Egress != "" && !switchable(p.Egress) {
		return fault.E(fault.Invalid, "BadArgument", "The egressPublicNetworkAccess '%s' is neither Enabled nor Disabled.", p.Egress).At("properties.egressPublicNetworkAccess")
	}
	if strings.EqualFold(p.Egress, "disabled") {
		return fault.E(fault.NotImplemented, "EgressNotSupported", "egressPublicNetworkAccess '%s' is not supported yet; it can be Enabled.", p.Egress).At("properties.egressPublicNetworkAccess")
	}
	if p.Egress != "" {
		p.Egress = "Enabled"
	}
	if err := p.checkScale(); err != nil {
		return err
	}
	if err := p.checkVariables(); err != nil {
		return err
	}
	if p.Properties == nil {
		p.Properties = map[string]string{}
	}
	if err := p.checkIsolation(); err != nil {
		return err
	}
	if err := p.checkProbes(); err != nil {
		return err
	}
	return p.checkRequest()
}

// checkVariables refuses what no process can be started with.
func (p *deployment) checkVariables() error {
	const at = "properties.environmentVariables"
	if p.Variables == nil {
		p.Variables = map[string]string{}
	}
	sum := 0
	for name, value := range p.Variables {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return fault.E(fault.Invalid, "BadArgument", "'%.128s' is no name of an environment variable.", name).At(at)
		}
		size := len(name) + len(value)
		if sum += size; size > maxVariable || sum > maxVariables || strings.Contains(value, "\x00") {
			return fault.E(fault.Invalid, "BadArgument", "The environment variable '%.128s' cannot be set: names and values have no NUL, at most %d bytes each and %d together.", name, maxVariable, maxVariables).At(at)
		}
	}
	return nil
}

func (p *deployment) checkRequest() error {
	if p.Request == nil {
		p.Request = &requestSettings{}
	}
	if p.Request.Concurrency == 0 {
		p.Request.Concurrency = 1
	}
	if p.Request.Concurrency < 1 || p.Request.Concurrency > maxConcurrency {
		return fault.E(fault.Invalid, "BadArgument", "maxConcurrentRequestsPerInstance is 1 to %d, not %d.", maxConcurrency, p.Request.Concurrency).At("properties.requestSettings.maxConcurrentRequestsPerInstance")
	}
	const at = "properties.requestSettings.requestTimeout"
	if err := duration(&p.Request.Timeout, "PT5S", at, maxRequestTimeout); err != nil {
		return err
	}
	if err := notZero(p.Request.Timeout, at); err != nil {
		return err
	}
	return duration(&p.Request.QueueWait, "PT0.5S", "properties.requestSettings.maxQueueWait", maxRequestTimeout)
}

func (p *deployment) checkProbes() error {
	for at, each := range map[string]**probe{"properties.livenessProbe": &p.Liveness, "properties.readinessProbe": &p.Readiness} {
		if *each == nil {
			*each = &probe{}
		}
		b := *each
		for _, field := range []struct {
			value *string
			name  string
			usual string
		}{{&b.InitialDelay, "initialDelay", "PT10S"}, {&b.Period, "period", "PT10S"}, {&b.Timeout, "timeout", "PT2S"}} {
			if err := duration(field.value, field.usual, at+"."+field.name, time.Hour); err != nil {
				return err
			}
		}
		for name, value := range map[string]string{"period": b.Period, "timeout": b.Timeout} {
			if err := notZero(value, at+"."+name); err != nil {
				return err
			}
		}
		if b.Success == 0 {
			b.Success = 1
		}
		if b.Failure == 0 {
			b.Failure = 30
		}
		if b.Success < 1 || b.Failure < 1 {
			return fault.E(fault.Invalid, "BadArgument", "The thresholds of a probe are 1 or more.").At(at)
		}
	}
	return nil
}

// checkNoCode refuses a deployment that leaves its script and environment to
// be made from its model, as Azure does for MLflow and Triton models.
func (s *Service) checkNoCode(ctx context.Context, d *resource.Draft, p *deployment) error {
	if p.Model == "" || p.Code != nil && p.Code.CodeID != "" {
		return nil
	}
	model, err := s.Workspaces.Asset(ctx, d.Next.ID.Parent().Parent(), "models", p.Model)
	if err != nil || model.ModelType != "mlflow_model" && model.ModelType != "triton_model" {
		return nil // what is wrong with it, other checks say
	}
	return fault.E(fault.NotImplemented, "NoCodeDeploymentNotSupported",
		"Deployments without code are not supported yet, and '%s' is of the type %s. Give code_configuration with a script that loads the model from AZUREML_MODEL_DIR, and an environment with the packages that it needs.",
		model.Name, model.ModelType).At("properties.codeConfiguration")
}

// checkAssets makes sure that what the deployment names is there, and puts the
// id of the version in place of a name or label: what @latest was when the
// deployment was made is what it stays.
func (s *Service) checkAssets(ctx context.Context, d *resource.Draft, p *deployment) error {
	workspace := d.Next.ID.Parent().Parent()
	for _, named := range []struct {
		collection, at string
		reference      *string
	}{
		{"codes", "properties.codeConfiguration.codeId", &p.Code.CodeID},
		{"environments", "properties.environmentId", &p.EnvironmentID},
		{"models", "properties.model", &p.Model},
	} {
		if *named.reference == "" {
			continue
		}
		found, err := s.Workspaces.Asset(ctx, workspace, named.collection, *named.reference)
		if fault.Is(err, fault.NotFound) {
			return fault.E(fault.Invalid, "BadArgument", "The asset '%s' does not exist in the workspace.", *named.reference).At(named.at)
		}
		if err != nil {
			return err
		}
		if id := found.ID.String(); !strings.EqualFold(id, *named.reference) {
			*named.reference = id
		}
	}
	return nil
}

func checkCapacity(r *resource.Resource) error {
	var k sku
	if len(r.SKU) > 0 {
		if err := json.Unmarshal(r.SKU, &k); err != nil {
			return fault.E(fault.Invalid, "InvalidRequestContent", "The 'sku' of a deployment is {name, capacity}: %s.", err.Error()).At("sku")
		}
	}
	if k.Name == "" {
		k.Name = "Default"
	}
	if k.Capacity == 0 {
		k.Capacity = 1
	}
	if k.Capacity < 1 || k.Capacity > maxInstances {
		return fault.E(fault.Invalid, "BadArgument", "The instance count is 1 to %d, not %d.", maxInstances, k.Capacity).At("sku.capacity")
	}
	full, err := json.Marshal(k)
	r.SKU = full
	return err
}

// errorProperty is where a failed deployment shows why it failed: Azure's shape
// has no field for it, and its clients show all properties of this map.
const errorProperty = "lapis.error"

// instancesProperty shows how many instances a deployment has now.
const instancesProperty = "lapis.instances"

func (s *Service) showDeployment(_ context.Context, r resource.Resource, shown *resource.Shown) error {
	shown.Kind = "Managed"
	inner, _ := shown.Properties["properties"].(map[string]any)
	if inner == nil {
		inner = map[string]any{}
	}
	showOperation(r, inner)
	delete(inner, errorProperty) // a client may have sent back what it was shown
	delete(inner, instancesProperty)
	if rev := s.serving(r.ID); rev != nil {
		inner[instancesProperty] = instances(rev.pool.State())
	}
	if f := r.Failure.Fault(); f != nil {
		inner[errorProperty] = f.Error()
	}
	shown.Properties["properties"] = inner
	return nil
}

// checkRemove refuses to delete a deployment that answers live requests.
func (s *Service) checkRemove(ctx context.Context, r resource.Resource) error {
	parent, err := s.Tree.Get(ctx, r.ID.Parent())
	if err != nil || parent.State == resource.Deleting {
		return nil
	}
	var p properties
	if err := parent.Decode(&p); err != nil {
		return err
	}
	for sort, shares := range map[string]map[string]int{"traffic": p.Traffic, "mirrored traffic": p.Mirror} {
		for name, percent := range shares {
			if strings.EqualFold(name, r.ID.Name()) && percent > 0 {
				return fault.E(fault.Invalid, "DeploymentHasTraffic",
					"The deployment '%s' receives %d%% of the %s of endpoint '%s' and cannot be deleted. Give its traffic to another deployment first, or set it to 0.",
					r.ID.Name(), percent, sort, parent.ID.Name()).At("traffic")
			}
		}
	}
	return nil
}

var isoDuration = regexp.MustCompile(`^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$`)

// parseDuration reads the part of ISO 8601 durations that has a fixed length.
func parseDuration(text string) (time.Duration, error) {
	m := isoDuration.FindStringSubmatch(strings.ToUpper(text))
	if m == nil || text == "P" || strings.HasSuffix(strings.ToUpper(text), "T") {
		return 0, fmt.Errorf("'%s' is no ISO 8601 duration such as PT5S", text)
	}
	total := 0.0
	for i, unit := range []float64{86400, 3600, 60, 1} {
		if m[i+1] == "" {
			continue
		}
		n, err := strconv.ParseFloat(m[i+1], 64)
		if err != nil {
			return 0, err
		}
		total += n * unit
	}
	if total > (1000 * time.Hour).Seconds() {
		return 0, fmt.Errorf("'%s' is longer than any setting may be", text)
	}
	return time.Duration(total * float64(time.Second)), nil
}

// notZero refuses a duration of nothing, which a checked setting can be.
func notZero(value, at string) error {
	if d, err := parseDuration(value); err == nil && d > 0 {
		return nil
	}
	return fault.E(fault.Invalid, "BadArgument", "%s is too short.", value).At(at)
}

// duration checks a setting and gives it its usual value where it has none.
func duration(value *string, usual, at string, limit time.Duration) error {
	if *value == "" {
		*value = usual
	}
	d, err := parseDuration(*value)
	if err != nil {
		return fault.E(fault.Invalid, "BadArgument", "%s.", err.Error()).At(at)
	}
	if d > limit {
		return fault.E(fault.Invalid, "BadArgument", "%s is longer than %s.", *value, limit).At(at)
	}
	return nil
}
