package az

import "github.com/spf13/pflag"

func seenInputs(fs *pflag.FlagSet) []*input {
	var all []*input
	fs.VisitAll(func(f *pflag.Flag) {
		if in, ok := f.Value.(*input); ok {
			all = append(all, in)
		}
	})
	return all
}
