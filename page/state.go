package page

import (
	"encoding/json"
	"slices"
	"strings"

	"lapis/armid"
	"lapis/endpoint"
	"lapis/fault"
	"lapis/rbac"
	"lapis/resource"
	"lapis/telemetry"
)

// How much is shown at once.
const (
	mostEndpoints = 40
	mostDenials   = 60
	mostGrants    = 20
	longestText   = 4 << 10
	longestSearch = 128
)

// state gathers what the page shows. The query "search" asks for endpoints
// by a part of their name or of a deployment's.
func (f *Face) state(r *request) (any, error) {
	search := strings.ToLower(strings.TrimSpace(r.URL.Query().Get("search")))
	if len(search) > longestSearch {
		return nil, fault.E(fault.Invalid, "InvalidParameter", "search is no longer than %d characters.", longestSearch).At("search")
	}
	records, err := f.trouble.look(r.Context())
	if err != nil {
		return nil, err
	}
	running := f.Observed()
	s := State{Time: f.Now().UTC(), Version: f.Version, Bounds: telemetry.Bounds(), Counts: countsOf(records, running), Endpoints: []Endpoint{}}
	names, left := choose(running, records, search)
	s.Left = left
	byName := map[string]telemetry.Endpoint{}
	for _, e := range running.Endpoints {
		byName[strings.ToLower(e.Name)] = e
	}
	traffic := f.Metrics.Traffic(func(endpoint, _ string) bool {
		_, shown := slices.BinarySearch(names, strings.ToLower(endpoint))
		return shown
	})
	for _, name := range names {
		shown, err := f.endpoint(r, name, byName[name], traffic)
		if fault.Is(err, fault.NotFound) {
			continue // it was deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		s.Endpoints = append(s.Endpoints, shown)
	}
	s.Denials, s.Forgotten = f.denials()
	return s, nil
}

func countsOf(records found, running telemetry.State) Counts {
	c := Counts{Endpoints: records.endpoints, Deployments: records.deployments, Failed: records.failed, Changing: records.changing}
	for _, e := range running.Endpoints {
		for _, d := range e.Deployments {
			c.Instances += d.Ready
			if d.Asleep {
				c.Asleep++
			} else if d.Wanted > 0 {
				c.Awake++
			}
		}
	}
	return c
}

// choose names the endpoints to show, in lower case and in order, and how many
// are left: all where they are few, those that a search finds, or else those
// with instances or trouble.
func choose(running telemetry.State, records found, search string) (names []string, left int) {
	ranks := map[string]int{}
	for name, one := range records.names {
		ranks[name] = 1
		if one.failed {
			ranks[name] = 2
		}
	}
	hits := map[string]bool{}
	for _, e := range running.Endpoints {
		name := strings.ToLower(e.Name)
		rank := ranks[name]
		for _, d := range e.Deployments {
			if d.Wanted > 0 || d.Queued > 0 {
				rank = max(rank, 1)
			}
			hits[name] = hits[name] || strings.Contains(strings.ToLower(d.Name), search)
		}
		ranks[name] = rank
	}
	total := len(ranks)
	for name, rank := range ranks {
		if search != "" && (hits[name] || strings.Contains(name, search)) || search == "" && (total <= mostEndpoints || rank > 0) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		if ranks[a] != ranks[b] {
			return ranks[b] - ranks[a]
		}
		return strings.Compare(a, b)
	})
	names = names[:min(len(names), mostEndpoints)]
	slices.Sort(names)
	return names, total - len(names)
}

func (f *Face) endpoint(r *request, name string, running telemetry.Endpoint, traffic map[string]map[string]*telemetry.Traffic) (Endpoint, error) {
	ep, err := f.Tree.Names("onlineEndpoint").Find(r.Context(), name)
	if err != nil {
		return Endpoint{}, err
	}
	var p struct {
		AuthMode string         `json:"authMode"`
		Traffic  map[string]int `json:"traffic"`
		Mirror   map[string]int `json:"mirrorTraffic"`
	}
	if err := ep.Decode(&p); err != nil {
		return Endpoint{}, err
	}
	e := Endpoint{
		ID: ep.ID.String(), Name: ep.ID.Name(), State: string(ep.State), AuthMode: p.AuthMode, Failure: failureOf(ep), Deployments: []Deployment{},
		ScoringURI: "https://" + endpoint.Host(ep.ID.Name(), ep.Location) + "/score", Identities: f.identities(ep),
	}
	if t := traffic[ep.ID.Name()][""]; t != nil {
		e.Refused = t.Statuses
	}
	deployments, err := f.Tree.List(r.Context(), endpoint.DeploymentType, ep.ID)
	if err != nil {
		return Endpoint{}, err
	}
	for _, one := range deployments {
		d := f.deployment(r, one)
		d.Traffic, d.Mirror = p.Traffic[d.Name], p.Mirror[d.Name]
		for _, pool := range running.Deployments {
			if strings.EqualFold(pool.Name, d.Name) {
				d.runs(pool)
			}
		}
		if t := traffic[ep.ID.Name()][d.Name]; t != nil {
			d.Statuses, d.Requests, d.Buckets = t.Statuses, t.Requests, t.Buckets
		}
		e.Deployments = append(e.Deployments, d)
	}
	return e, nil
}

func (f *Face) deployment(r *request, one resource.Resource) Deployment {
	var p struct {
		InstanceType string `json:"instanceType"`
	}
	_ = one.Decode(&p) // what is not shown is not missed
	d := Deployment{ID: one.ID.String(), Name: one.ID.Name(), State: string(one.State), Failure: failureOf(one), InstanceType: p.InstanceType}
	if !one.State.Done() && one.Operation != "" {
		if op, err := f.Operations.Get(r.Context(), one.Operation); err == nil {
			d.Progress = op.Progress
		}
	}
	return d
}

// runs takes over how a deployment's instances are.
func (d *Deployment) runs(pool telemetry.Deployment) {
	d.Served, d.Wanted, d.Ready, d.Asleep = true, pool.Wanted, pool.Ready, pool.Asleep
	d.Queued, d.InFlight = pool.Queued, pool.InFlight
	d.Restarts, d.Throttled, d.ColdStarts = pool.Restarts, pool.Throttled, pool.ColdStarts
	for _, i := range pool.Instances {
		d.Memory += i.Memory
	}
}

func failureOf(r resource.Resource) *Failure {
	e := r.Failure.Fault()
	if e == nil {
		return nil
	}
	message := e.Message
	if len(message) > longestText {
		message = strings.ToValidUTF8(message[:longestText], "") + " …"
	}
	return &Failure{Code: e.Code, Message: message, Denial: e.Denial}
}

// identities are those that an endpoint runs under.
func (f *Face) identities(ep resource.Resource) []Identity {
	var holders []string
	if ep.Identity.HasSystem() {
		holders = append(holders, ep.ID.String())
	}
	if ep.Identity.HasUser() {
		for id := range ep.Identity.UserAssigned {
			holders = append(holders, id)
		}
		slices.Sort(holders)
	}
	list := []Identity{}
	for _, holder := range holders {
		p, ok := f.Directory.ByResource(holder)
		if !ok {
			continue
		}
		one := Identity{ObjectID: p.ObjectID, Kind: string(p.Kind), Name: p.DisplayName, Grants: []Grant{}}
		for _, a := range f.Roles.Assignments(armid.Root, rbac.Filter{Principal: p.ObjectID}) {
			if len(one.Grants) == mostGrants {
				one.Left++
				continue
			}
			role, _ := f.Roles.RoleByID(a.RoleID)
			one.Grants = append(one.Grants, Grant{Role: role.Name, Scope: a.Scope.String()})
		}
		list = append(list, one)
	}
	return list
}

// denials are the latest refusals with what would mend them, as of now.
func (f *Face) denials() (shown []Denial, left int) {
	latest := f.Refusals.Latest()
	snapshot := f.Roles.Snapshot()
	shown = []Denial{}
	for _, one := range latest[:min(len(latest), mostDenials)] {
		q := one.Query
		p, known := f.Directory.ByObjectID(q.PrincipalID)
		kind := ""
		if known {
			kind = p.Kind.PrincipalType()
		}
		shown = append(shown, Denial{
			Denial: snapshot.Denial(q, kind), Who: p.DisplayName, Kind: string(p.Kind), Plane: q.Plane, Data: q.Data,
			Times: one.Times, First: one.First.UTC(), Last: one.Last.UTC(), Allowed: known && snapshot.Decide(q).Allowed,
		})
	}
	return shown, len(latest) - len(shown)
}

// tail is the last lines of a deployment's log, as its action getLogs gives them.
func (f *Face) tail(r *request) (any, error) {
	one, err := f.Tree.Get(r.Context(), r.scope)
	if err != nil {
		return nil, err
	}
	typ, err := f.Tree.TypeOf(r.scope)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]any{"tail": tailLines, "containerType": r.URL.Query().Get("container")})
	if err != nil {
		return nil, err
	}
	for _, action := range typ.Actions {
		if action.Name == getLogs {
			return action.Run(r.Context(), resource.Call{Resource: one, Caller: r.caller, Body: body})
		}
	}
	return nil, fault.E(fault.NotFound, "NotFound", "Deployments have no logs here.")
}

const tailLines = 300
