"""Format `yaml`: plain values as YAML, which people read and edit."""

import yaml

from d6tstore import Format
from d6tstore.errors import FormatError


class YamlFormat(Format):
    suffix = ".yaml"

    def dump(self, value, file):
        try:
            text = yaml.safe_dump(value, allow_unicode=True, sort_keys=False)
            if yaml.safe_load(text) != value:
                raise ValueError("it would come back as another value")
        except (yaml.YAMLError, ValueError, RecursionError) as exc:
            raise FormatError(f"YAML cannot store the value: {exc}. Save plain values, or use TaskPickle.") from exc
        file.write(text.encode())

    def load(self, file):
        try:
            return yaml.safe_load(file)
        except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as exc:
            raise FormatError(f"these bytes are no YAML: {exc}. Run the task again.") from exc
