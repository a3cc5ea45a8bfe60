package configs

import (
	"fmt"
	"reflect"

	"github.com/goccy/go-yaml"
)

// Diff is the paths of the keys whose values differ between two configurations
// of one type. What is in a list differs as a whole.
func Diff(a, b any) []string {
	return diff("", shown(reflect.ValueOf(a)), shown(reflect.ValueOf(b)))
}

func diff(path string, a, b any) []string {
	x, one := a.(yaml.MapSlice)
	y, other := b.(yaml.MapSlice)
	if !one || !other {
		if reflect.DeepEqual(a, b) {
			return nil
		}
		return []string{path}
	}
	var all []string
	values := map[string]any{}
	for _, item := range y {
		values[fmt.Sprint(item.Key)] = item.Value
	}
	under := func(key string) string {
		if path == "" {
			return key
		}
		return path + "." + key
	}
	for _, item := range x {
		key := fmt.Sprint(item.Key)
		all = append(all, diff(under(key), item.Value, values[key])...)
		delete(values, key)
	}
	for _, item := range y {
		if _, new := values[fmt.Sprint(item.Key)]; new {
			all = append(all, under(fmt.Sprint(item.Key)))
		}
	}
	return all
}
