package lapis

import (
	"net/http"

	"lapis/arm"
)

// runningBody is what runs, for `lapis status`.
type runningBody struct {
	Value  []runningDeployment `json:"value"`
	AtZero int                 `json:"atZero"` // deployments without instances
}

// runningDeployment is a deployment that has instances, and what all of them use.
type runningDeployment struct {
	Endpoint   string        `json:"endpoint"`
	Deployment string        `json:"deployment"`
	Ready      int           `json:"ready"`
	Wanted     int           `json:"wanted"`
	CPU        float64       `json:"cpuSeconds"` // since their start
	Memory     int64         `json:"memoryBytes"`
	Processes  int           `json:"processes"`
	Limits     runningLimits `json:"limitsEach"`
}

// runningLimits are those of one instance; 0: none.
type runningLimits struct {
	CPU       float64 `json:"cpus"`
	Memory    int64   `json:"memoryBytes"`
	Processes int     `json:"processes"`
}

// runningRoute is the row that shows what runs. It tells what metrics tell, and
// needs the same right.
func (s *Server) runningRoute() arm.Route {
	return arm.Route{
		Method: http.MethodGet, Path: "/providers/Lapis.Platform/instances", Action: readMetrics, Scope: "/subscriptions/" + s.home.Subscription,
		Handle: func(*arm.Request) (arm.Answer, error) { return arm.Answer{Body: s.running()}, nil },
	}
}

func (s *Server) running() runningBody {
	found, atZero := s.endpoints.Running()
	body := runningBody{Value: []runningDeployment{}, AtZero: atZero}
	used := s.meters.Instances()
	for _, r := range found {
		d := runningDeployment{
			Endpoint: r.Endpoint, Deployment: r.Deployment, Ready: r.Ready, Wanted: r.Wanted,
			Limits: runningLimits{CPU: r.Limits.CPU, Memory: r.Limits.Memory, Processes: r.Limits.Processes},
		}
		for _, one := range used[r.Endpoint+"/"+r.Deployment] {
			d.CPU += one.CPU.Seconds()
			d.Memory += one.Memory
			d.Processes += one.Processes
		}
		body.Value = append(body.Value, d)
	}
	return body
}
