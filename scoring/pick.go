package scoring

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"lapis/fault"
)

// weight is a deployment's share of the traffic.
type weight struct {
	name  string
	until int // the sum of the shares up to and with this one
}

// weightsOf checks the shares and sums them up, in order of name.
func weightsOf(traffic map[string]int, deployments map[string]*Pool) ([]weight, error) {
	var weights []weight
	sum := 0
	for _, name := range slices.Sorted(maps.Keys(traffic)) {
		share := traffic[name]
		switch {
		case share < 0 || share > 100:
			return nil, fmt.Errorf("the traffic of deployment %s is %d, not 0 to 100", name, share)
		case share == 0:
			continue
		case deployments[name] == nil:
			return nil, fmt.Errorf("the traffic names deployment %s, which there is not", name)
		}
		sum += share
		weights = append(weights, weight{name, sum})
	}
	return weights, nil
}

// pickDeployment decides where a request goes: to the deployment that its
// header names (in any case, as names of resources are), whatever that one's
// share is, else to one by weight. random gives a number in [0, n).
func pickDeployment(endpoint *target, wanted string, random func(n int) int) (string, error) {
	if wanted != "" {
		if endpoint.Deployments[wanted] == nil {
			for name := range endpoint.Deployments {
				if strings.EqualFold(name, wanted) {
					return name, nil
				}
			}
			// The real service's body for this case is not published; its status is 404.
			return "", fault.E(fault.NotFound, "DeploymentNotFound",
				"The endpoint %s has no deployment %q, which the header azureml-model-deployment names.", endpoint.Name, wanted)
		}
		return wanted, nil
	}
	if len(endpoint.weights) == 0 {
		return "", fault.E(fault.NotFound, "NoTraffic",
			"The endpoint %s has no deployment with traffic. Give one some (az ml online-endpoint update --traffic NAME=100), or name one in the header azureml-model-deployment.", endpoint.Name)
	}
	last := endpoint.weights[len(endpoint.weights)-1]
	if len(endpoint.weights) == 1 {
		return last.name, nil
	}
	n := random(last.until)
	for _, w := range endpoint.weights {
		if n < w.until {
			return w.name, nil
		}
	}
	return last.name, nil
}

// turns give every deployment its exact share, one request after the other, in
// place of chance. They stand in for random.
type turns struct {
	order []int // numbers that pick a deployment, or mean a copy
	at    atomic.Uint64
}

func (t *turns) next(int) int {
	return t.order[(t.at.Add(1)-1)%uint64(len(t.order))]
}

// turnsOf spreads the shares: 90 and 10 make nine of one and one of the other
// in every ten requests.
func turnsOf(weights []weight) *turns {
	if len(weights) == 0 {
		return nil
	}
	sum := weights[len(weights)-1].until
	credit := make([]int, len(weights))
	order := make([]int, 0, sum)
	for range sum {
		best, before := 0, 0
		for i, w := range weights {
			credit[i] += w.until - before
			before = w.until
			if credit[i] > credit[best] {
				best = i
			}
		}
		credit[best] -= sum
		order = append(order, weights[best].until-1)
	}
	return &turns{order: order}
}

// copyTurns have exactly so many of a hundred requests copied, in even steps.
func copyTurns(percent int) *turns {
	order := make([]int, 100)
	for i := range order {
		if (i+1)*percent/100 == i*percent/100 {
			order[i] = 100 // is less than no percentage
		}
	}
	return &turns{order: order}
}

// keepTurns goes on where the target before was, if the shares are the same.
func (t *target) keepTurns(before *target) {
	t.live = turnsOf(t.weights)
	if t.shadow != nil {
		t.copies = copyTurns(t.shadow.percent)
	}
	if before == nil {
		return
	}
	if slices.Equal(t.weights, before.weights) {
		t.live = before.live
	}
	if t.shadow != nil && before.shadow != nil && t.shadow.name == before.shadow.name && t.shadow.percent == before.shadow.percent {
		t.copies = before.copies
	}
}
