// The one job: every branch and its Jenkinsfile.
multibranchPipelineJob('pathcast') {
    displayName('Pathcast')
    branchSources {
        git {
            id('pathcast')
            remote(REPOSITORY_URL)
            credentialsId('pathcast-repository')
        }
    }
    factory {
        workflowBranchProjectFactory {
            scriptPath('Jenkinsfile')
        }
    }
    triggers {
        // A push that told Jenkins nothing is found by this; a hook to /git/notifyCommit with a token starts at once.
        periodicFolderTrigger {
            interval('2m')
        }
    }
    orphanedItemStrategy {
        discardOldItems {
            numToKeep(10)
        }
    }
}
