#!/bin/sh
# Buckets, users and what each may do; running it again sets the users' keys anew and changes nothing else.
# A user's access key is its name, its secret key comes from the file of that name.
set -eu

root_user=$(cat /root-credentials/user)
root_password=$(cat /root-credentials/password)
until mc alias set store http://minio:9000 "$root_user" "$root_password" >/dev/null 2>&1; do
    echo "waiting for the object store"
    sleep 3
done

for bucket in frames models mlflow videos results; do
    mc mb --ignore-existing "store/$bucket"
done
mc version enable store/models
# What was removed or replaced can be had back for a month, and is gone then. An import replaces the rules of before.
older_versions='"NoncurrentVersionExpiration": {"NoncurrentDays": 30}, "Expiration": {"ExpiredObjectDeleteMarker": true}'
echo "{\"Rules\": [{\"ID\": \"older-versions\", \"Status\": \"Enabled\", \"Filter\": {\"Prefix\": \"\"}, $older_versions}]}" |
    mc ilm rule import store/models
# Triton does not start on a prefix that holds no object.
echo "Model repository in Triton's layout: one folder for each model." | mc pipe store/models/triton/README.md

for user in archiver triton lifecycle mlflow; do
    mc admin policy create store "$user" "/setup/$user.json"
    mc admin user add store "$user" "$(cat "/user-keys/$user")"
    # Attaching a policy that is attached already is an error. The image has a shell and little else.
    case $(mc admin user info store "$user" --json) in
    *'"policyName"'*"\"$user\""*) ;;
    *) mc admin policy attach store "$user" --user "$user" ;;
    esac
done
