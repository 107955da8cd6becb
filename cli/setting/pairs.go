package setting

import (
	"fmt"
	"strconv"
	"strings"
)

// Pairs reads the words of --tags and its like: key=value, or key alone for an
// empty value. A single empty word makes an empty map.
func Pairs(words []string) (map[string]any, error) {
	pairs := map[string]any{}
	for _, word := range words {
		if word == "" {
			continue
		}
		key, value, _ := strings.Cut(word, "=")
		if key == "" {
			return nil, fmt.Errorf("%q lacks a name before =", word)
		}
		pairs[key] = value
	}
	return pairs, nil
}

// Traffic reads the shares of deployments: "blue=90 green=10", also parted by
// commas, or as several words. A share is a whole percentage, with or without
// the sign; a deployment stands once. The sum is the service's to judge, except
// that it cannot pass 100.
func Traffic(words []string) (map[string]any, error) {
	shares := map[string]any{}
	sum := 0
	for _, word := range words {
		for _, item := range strings.FieldsFunc(word, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' || r == '\n' }) {
			name, text, ok := strings.Cut(item, "=")
			if !ok || name == "" {
				return nil, fmt.Errorf("%q: write it as DEPLOYMENT=PERCENT, such as \"blue=90 green=10\"", item)
			}
			share, err := strconv.Atoi(strings.TrimSuffix(text, "%"))
			if err != nil || share < 0 || share > 100 {
				return nil, fmt.Errorf("%q: the share is a whole number from 0 to 100", item)
			}
			if _, twice := shares[name]; twice {
				return nil, fmt.Errorf("%q stands twice", name)
			}
			shares[name] = float64(share)
			sum += share
		}
	}
	if sum > 100 {
		return nil, fmt.Errorf("the shares add up to %d, more than 100", sum)
	}
	return shares, nil
}
