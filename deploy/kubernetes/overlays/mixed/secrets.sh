# Made of topology.toml by `manage.py topology render kubernetes`. Change that, not this.
# Make the Secrets of this placement from variables of the environment; again, to change them:
#   bash secrets.sh
set -euo pipefail

# make_secret NAME VARIABLE ...: kubectl reads the values from its standard input, where no list of
# processes shows them. Each is one line: the newlines of a PEM are written as \n.
make_secret() {
  for key in "${@:2}"; do
    [[ -n ${!key:-} ]] || { echo "$key must be set" >&2; exit 1; }
    [[ ${!key} != *$'\n'* ]] || { echo "$key: write newlines as \\n" >&2; exit 1; }
  done
  for key in "${@:2}"; do printf '%s=%s\n' "$key" "${!key}"; done |
    kubectl create secret generic "$1" --namespace shop \
      --from-env-file=/dev/stdin --dry-run=client --output yaml | kubectl apply --filename -
}

make_secret shop-secrets \
  SECRET_KEY \
  SERVICE_KEY \
  JWT_PUBLIC_KEYS \
  METRICS_TOKEN \
  DATABASE_URL \
  BROKER_URL \
  CACHE_URL \
  JWT_PRIVATE_KEY \
  EMAIL_URL
make_secret payments-secrets \
  SECRET_KEY \
  SERVICE_KEY \
  JWT_PUBLIC_KEYS \
  METRICS_TOKEN \
  DATABASE_URL \
  BROKER_URL \
  CACHE_URL
